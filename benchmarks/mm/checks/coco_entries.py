"""The entries of a COCO instances file one by one: of the right type, finite, in bounds, each id once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.mm.checks.image_files import inside
from pretrain.base.faults import Fault, printable

NEEDED = {
    "image": ("file_name", "height", "id", "width"),
    "annotation": ("bbox", "category_id", "id", "image_id"),
    "category": ("id", "name"),
}
LARGEST = 1e6  # of a coordinate in pixels, either side of 0
NAME, ID = 200, 10**15  # characters of a class's name; the largest number that is an id


def check(path: Path, content: dict[str, Any]) -> None:
    """Raises Fault (data-corrupt) with file and entry, on the first that no training or test could use."""
    for kind, name in (("image", "images"), ("annotation", "annotations"), ("category", "categories")):
        entries = content[name]
        if not isinstance(entries, list):
            raise _wrong(path, name, f"is a {type(entries).__name__}, expected a list")
        for number, entry in enumerate(entries):
            _entry(path, kind, number, entry)
        _once(path, kind, [entry["id"] for entry in entries], "ids")
    _once(path, "category", [category["name"] for category in content["categories"]], "names")
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for ann in content["annotations"]:
        _annotation(path, ann, sizes.get(ann["image_id"]))
    for image in content["images"]:
        _image(path, image)
    for category in content["categories"]:
        if not isinstance(category["name"], str) or not _name(category["name"]):
            said = "has a name that is no printable text of 1 to 200 characters"
            raise _wrong(path, f"category {category['id']}", said)


def _entry(path: Path, kind: str, number: int, entry: Any) -> None:
    if not isinstance(entry, dict):
        raise _wrong(path, f"{kind} entry {number}", f"is a {type(entry).__name__}, expected an object")
    if lacking := [name for name in NEEDED[kind] if name not in entry]:
        raise _wrong(path, f"{kind} {_shown(entry.get('id'))}", f"has no {', '.join(lacking)}")
    for name in NEEDED[kind]:
        value = entry[name]
        wrong = isinstance(value, bool) or not isinstance(value, (int, str))
        if name.endswith("id") and (wrong or (isinstance(value, int) and abs(value) > ID)):
            raise _wrong(path, f"{kind} entry {number}", f"has {name} {_shown(value)}, expected a number")


def _once(path: Path, kind: str, values: Sequence[Any], what: str) -> None:
    try:
        shared = [value for value, n in Counter(values).items() if n > 1]
    except TypeError:  # a list or an object, which cannot be counted
        raise _wrong(path, kind, f"{what} hold what is neither number nor text") from None
    if shared:
        said = f"{len(shared)} {kind} {what} occur more than once, first {_shown(shared[0])}"
        raise Fault("data-corrupt", f"{path}: {said}")


def _image(path: Path, image: dict[str, Any]) -> None:
    at = f"image {_shown(image['id'])}"
    for name in ("width", "height"):
        if not _number(image[name], 1, LARGEST):
            raise _wrong(path, at, f"has {name} {_shown(image[name])}, expected pixels")
    if not inside(image["file_name"]):
        said = f"has file_name {_shown(image['file_name'])}, expected a path below the folder of images"
        raise _wrong(path, at, said)


def _name(text: str) -> bool:
    return bool(text.strip()) and len(text) <= NAME and text.isprintable()


def _annotation(path: Path, ann: dict[str, Any], size: tuple[int, int] | None) -> None:
    at = f"annotation {_shown(ann['id'])}"
    box = ann["bbox"]
    if not isinstance(box, list) or len(box) != 4:
        numbers = f"{len(box)} numbers" if isinstance(box, list) else f"type {type(box).__name__}"
        raise _wrong(path, at, f"has a bbox of {numbers}, expected x, y, width, height")
    if not all(_number(value, -LARGEST, LARGEST) for value in box):
        raise _wrong(path, at, f"has bbox {_shown(box)}, expected four finite numbers of pixels")
    if not _number(ann.get("area", 1), -(LARGEST**2), LARGEST**2):
        raise _wrong(path, at, f"has area {_shown(ann['area'])}, expected pixels")
    if ann.get("iscrowd", 0) not in (0, 1):
        raise _wrong(path, at, f"has iscrowd {_shown(ann['iscrowd'])}, expected 0 or 1")
    shape = ann.get("segmentation")
    wrong = _run_lengths(shape, size) if isinstance(shape, dict) else _polygons(shape)
    if wrong:
        raise _wrong(path, at, f"has a segmentation {wrong}")


def _polygons(shape: Any) -> str:
    if shape is None:
        return ""
    if not isinstance(shape, list):
        return f"of type {type(shape).__name__}, expected polygons"
    for polygon in shape:
        if not isinstance(polygon, list):
            return f"with a {type(polygon).__name__} for a polygon"
        try:
            total = math.fsum(polygon) if polygon else 0.0
            within = not polygon or (min(polygon) >= -LARGEST and max(polygon) <= LARGEST)
        except (TypeError, ValueError, OverflowError):
            return "whose points are not finite numbers"
        if not (math.isfinite(total) and within):
            return "whose points are not finite numbers of pixels"
    return ""


def _run_lengths(shape: dict[str, Any], size: tuple[int, int] | None) -> str:
    """What is wrong with a run-length mask, or ""; its runs must fill the image exactly."""
    if not shape.get("counts") or not shape.get("size"):
        return ""
    counts, (h, w) = shape["counts"], size or (None, None)
    if not isinstance(shape["size"], list) or (size and shape["size"] != [h, w]):
        return f"of size {_shown(shape['size'])}, its image is {[h, w]} (height, width)"
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if not isinstance(counts, list) or not all(_whole(run) for run in counts):
        return "whose counts are no run lengths"
    if h is not None and w is not None and sum(counts) != h * w:
        return f"whose runs cover {_shown(sum(counts))} pixels, its image has {h * w}"
    return ""


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST**2


def _unpacked(text: str) -> list[int] | None:
    """Run lengths of COCO's compressed form, None where it is not that.

    Six bits a character from "0" on, of which the sixth says that more follow; from the fourth number on, the
    difference to the one two before is written.
    """
    runs, value, shift = list[int](), 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (1 << shift) if bits & 16 else 0
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    return None if shift else runs


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) > ID:
        return "a number beyond 10^15"  # printing a very long one takes seconds, or is refused
    return printable(repr(value) if not isinstance(value, str) else value, 60)


def _wrong(path: Path, at: str, said: str) -> Fault:
    return Fault("data-corrupt", f"{path}: {at} {said}; correct it")
