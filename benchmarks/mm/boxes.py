"""Boxes as they are found on disk: read, checked, the odd ones counted; what cannot be used is an error by name.

How odd boxes are treated, and the count that the record shows for it:

    boxes_clipped          partly outside the image: cut to it (COCO: in training; scored as the file has them)
    boxes_dropped          outside the image, or without an area: not used (COCO: not in training, where an image with
                           no other box is trained on as background; at test pycocotools scores them like any other)
    boxes_difficult        VOC: background in training, neither right nor wrong at test
    boxes_crowd            COCO: background in training, neither right nor wrong at test
    boxes_without_mask     COCO: train the box head alone, count for box AP, are crowd for mask AP
    boxes_without_image    COCO: not used
    images_without_boxes   not trained on; at test every detection on them is wrong
    images_not_listed      COCO: files in the folder that the json does not name: not used
    sizes_corrected        VOC: the XML gives no size or another one than the image: the image's
    classes_absent         named or declared, but without a box that training uses or that counts at test
    classes_only_in_train, classes_only_in_test
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.mm.pictures import listed, named, sizes
from pretrain.faults import Fault


class Thing(NamedTuple):
    """A VOC object. box: x1, y1, x2, y2 in pixels from 0, both corners inside the box."""

    name: str
    box: tuple[int, int, int, int]
    difficult: bool


@dataclass(frozen=True)
class Report:
    """What a list of images holds: class names, how often each oddity occurs, and the usable boxes of each class."""

    images: int
    classes: tuple[str, ...]
    odd: Counter[str] = field(default_factory=Counter)
    usable: Counter[str] = field(default_factory=Counter)


def things(path: Path, size: tuple[int, int]) -> tuple[list[Thing], Counter[str]]:
    """The usable objects of a VOC annotation, cut to an image of `size` (width, height), and the oddities found.

    Coordinates are 1-based and inclusive in the file and have fractions in some; they are rounded down.

    Raises:
        Fault: data-missing or data-corrupt, naming the file and what is wrong with it.
    """
    root, odd, found = _parse(path), Counter[str](), []
    if _stated_size(root) != size:
        odd["sizes_corrected"] += 1
    for number, node in enumerate(root.findall("object"), start=1):
        try:
            name = (node.findtext("name") or "").strip()
            edges = [int(float(node.findtext(f"bndbox/{edge}") or "")) - 1 for edge in ("xmin", "ymin", "xmax", "ymax")]
            difficult = bool(int(node.findtext("difficult") or 0))
        except ValueError:
            raise Fault("data-corrupt", f"{path}: object {number} has no number where one is expected") from None
        if not name:
            raise Fault("data-corrupt", f"{path}: object {number} has no name")
        box = _clip(edges, size)
        if box is None:
            odd["boxes_dropped"] += 1
            continue
        odd["boxes_clipped"] += list(box) != edges
        odd["boxes_difficult"] += difficult
        found.append(Thing(name, box, difficult))
    odd["images_without_boxes"] += not found
    return found, odd


def _parse(path: Path) -> ET.Element:
    try:
        return ET.parse(path).getroot()
    except FileNotFoundError:
        raise Fault("data-missing", f"{path} is not there, though its image is listed") from None
    except ET.ParseError as error:
        raise Fault("data-corrupt", f"{path} is not an annotation: {error}") from None


def _stated_size(root: ET.Element) -> tuple[int, int] | None:
    try:
        return int(root.findtext("size/width") or 0), int(root.findtext("size/height") or 0)
    except ValueError:
        return None


def _clip(edges: Sequence[int], size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    x1, y1, x2, y2 = edges
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, size[0] - 1), min(y2, size[1] - 1)
    # A detector's box is x2 - x1 wide, so one of a single pixel has no width to learn.
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def voc_list(root: Path, name: str) -> Path:
    """The file of a list `YEAR/NAME` of a VOCdevkit."""
    year, _, split = name.partition("/")
    return root / year / "ImageSets" / "Main" / f"{split}.txt"


def check_voc(root: Path, name: str, smallest: int = 0) -> Report:
    """What the list `YEAR/NAME` of a VOCdevkit holds; every annotation is read and every image looked at.

    smallest: short side in pixels from which on the boxes of an image are usable.

    Raises:
        Fault: naming the first file that is absent or unusable.
    """
    ids, year = listed(voc_list(root, name)), root / name.partition("/")[0]
    odd, classes, usable = Counter[str](), set[str](), Counter[str]()
    for i, size in zip(ids, sizes([year / "JPEGImages" / f"{i}.jpg" for i in ids]), strict=True):
        kept, strange = things(year / "Annotations" / f"{i}.xml", size)
        odd.update(strange)
        classes.update(thing.name for thing in kept)
        usable.update(thing.name for thing in kept if not thing.difficult and min(size) >= smallest)
    return Report(len(ids), tuple(sorted(classes)), odd, usable)


def merged(reports: Sequence[Report]) -> Report:
    """Several lists as one; classes in the order in which they come up."""
    odd, usable = Counter[str](), Counter[str]()
    for report in reports:
        odd.update(report.odd)
        usable.update(report.usable)
    classes = dict.fromkeys(name for report in reports for name in report.classes)
    return Report(sum(report.images for report in reports), tuple(classes), odd, usable)


def expect_boxes(report: Report, where: Path, purpose: str, smallest: int = 0) -> None:
    """Raises Fault (data-corrupt) if a list has no box to `purpose`, on an image of `smallest` px or more."""
    if not report.usable:
        size = f", on an image of at least {smallest} px" if smallest else ""
        raise Fault(
            "data-corrupt",
            f"{where}: none of its {report.images} images has a box to {purpose}, expected one or more that are not "
            f"difficult, crowd or outside the image{size}; correct the annotations or the list",
        )


def together(train: Report, test: Report) -> dict[str, int]:
    """The counts of both parts, `train_` and `test_` before the name, with the classes that only one of them has."""
    counts = dict[str, int]()
    for part, report in (("train", train), ("test", test)):
        odd = {**report.odd, "classes_absent": len(set(report.classes) - set(report.usable))}
        counts |= {f"{part}_{name}": n for name, n in sorted(odd.items()) if n}
    counts["classes_only_in_train"] = len(set(train.classes) - set(test.classes))
    counts["classes_only_in_test"] = len(set(test.classes) - set(train.classes))
    return counts


def read_coco(path: Path) -> dict[str, Any]:
    """The content of an instances file. Raises Fault where it is absent, no json or not of that kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Fault("data-missing", f"{path} is not there") from None
    except ValueError as error:
        raise Fault("data-corrupt", f"{path} is not json: {error}") from None
    missing = {"images", "annotations", "categories"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise Fault("data-corrupt", f"{path} has no {', '.join(sorted(missing))}; expected COCO instances")
    return dict(content)


def check_coco(path: Path, content: dict[str, Any], folder: Path, smallest: int = 0) -> Report:
    """What an instances file holds; every image is looked at. Classes are its categories in the order of the file.

    smallest: short side in pixels from which on the boxes of an image are usable.

    Raises:
        Fault: an image that is absent, broken or of another size, a category that is not declared, entries that lack
            what they need, or annotations that share an id.
    """
    _complete(path, content)
    images = {image["id"]: image for image in content["images"]}
    paths = [folder / image["file_name"] for image in images.values()]
    for path_, image, size in zip(paths, images.values(), sizes(paths), strict=True):
        if size != (image["width"], image["height"]):
            raise Fault("data-corrupt", f"{path} says {path_} is {image['width']} x {image['height']}, it is {size}")
    categories = {category["id"]: str(category["name"]) for category in content["categories"]}
    odd, seen, usable = Counter[str](), set[int](), Counter[str]()
    for ann in content["annotations"]:
        if ann["category_id"] not in categories:
            raise Fault(
                "data-corrupt",
                f"{path}: annotation {ann['id']} has category {ann['category_id']}, not declared",
            )
        image = images.get(ann["image_id"])
        strange = _oddities(ann, image)
        odd.update(strange)
        if image is not None:
            seen.add(ann["image_id"])
            plain = not {"boxes_dropped", "boxes_crowd"} & set(strange)
            usable[categories[ann["category_id"]]] += plain and min(image["width"], image["height"]) >= smallest
    odd["images_without_boxes"] = len(images) - len(seen)
    odd["images_not_listed"] = _not_listed(folder, {p.name for p in paths})
    return Report(len(images), tuple(categories.values()), odd, +usable)


def _complete(path: Path, content: dict[str, Any]) -> None:
    for image in content["images"]:
        if lacking := {"id", "file_name", "width", "height"} - set(image):
            raise Fault("data-corrupt", f"{path}: image {image.get('id')} has no {', '.join(sorted(lacking))}")
    for ann in content["annotations"]:
        if lacking := {"id", "image_id", "category_id", "bbox"} - set(ann):
            raise Fault("data-corrupt", f"{path}: annotation {ann.get('id')} has no {', '.join(sorted(lacking))}")
        if len(ann["bbox"]) != 4:
            raise Fault("data-corrupt", f"{path}: annotation {ann['id']} has a bbox of {len(ann['bbox'])} numbers")
    shared = [number for number, n in Counter(ann["id"] for ann in content["annotations"]).items() if n > 1]
    if shared:
        raise Fault("data-corrupt", f"{path}: {len(shared)} annotation ids occur more than once, first {shared[0]}")


def _not_listed(folder: Path, names: set[str]) -> int:
    return sum(
        1 for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png") and file.name not in names
    )


def _oddities(ann: dict[str, Any], image: dict[str, Any] | None) -> list[str]:
    if image is None:
        return ["boxes_without_image"]
    x, y, w, h = ann["bbox"]
    wide = min(x + w, image["width"]) - max(x, 0)
    high = min(y + h, image["height"]) - max(y, 0)
    # The bounds that mmdet drops a box at; COCO's own files round boxes to hundredths of a pixel beyond the edge.
    if w < 1 or h < 1 or wide <= 0 or high <= 0 or ann.get("area", 1) <= 0:
        return ["boxes_dropped"]
    found = ["boxes_clipped"] if wide < w - 0.01 or high < h - 0.01 else []
    found += ["boxes_crowd"] if ann.get("iscrowd") else []
    return found + ([] if has_mask(ann) else ["boxes_without_mask"])


def has_mask(ann: dict[str, Any]) -> bool:
    """Whether an annotation has a polygon of three points or more, or a run-length mask."""
    shape = ann.get("segmentation")
    if isinstance(shape, dict):
        return bool(shape.get("counts")) and bool(shape.get("size"))
    return bool(shape) and any(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in shape or ())


def completed(content: dict[str, Any]) -> dict[str, Any]:
    """The instances with what mmdet takes for granted: `area` and `iscrowd`, and no annotation without an image."""
    images = {image["id"] for image in content["images"]}
    fixed = [
        {"area": ann["bbox"][2] * ann["bbox"][3], "iscrowd": 0, **ann}
        for ann in content["annotations"]
        if ann["image_id"] in images
    ]
    return {**content, "annotations": fixed}


def with_empty_masks(content: dict[str, Any]) -> dict[str, Any]:
    """The instances with an empty run-length mask for every box that has none; see `heads.PartlyMasked`."""
    size = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    fixed = []
    for ann in content["annotations"]:
        h, w = size[ann["image_id"]]
        fixed.append(ann if has_mask(ann) else {**ann, "segmentation": {"size": [h, w], "counts": [h * w]}})
    return {**content, "annotations": fixed}


def mask_truth(content: dict[str, Any]) -> dict[str, Any]:
    """The instances as mask AP counts them: a box without a mask becomes a crowd, which no detection is wrong on."""
    fixed = []
    for ann in content["annotations"]:
        if not has_mask(ann):
            x, y, w, h = ann["bbox"]
            ann = {**ann, "iscrowd": 1, "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
        fixed.append(ann)
    return {**content, "annotations": fixed}


def same_classes(train: Report, test: Report, where: tuple[Path, Path]) -> None:
    """Raises Fault unless both instances files declare the same categories in the same order."""
    if train.classes != test.classes:
        differing = sorted(set(train.classes) ^ set(test.classes))[:3] or ["their order"]
        raise Fault("data-corrupt", f"{named(where)} declare different categories: {', '.join(differing)}")
