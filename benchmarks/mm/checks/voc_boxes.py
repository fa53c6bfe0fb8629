"""PASCAL VOC annotations as found on disk: read, checked, cut to their images, the odd ones counted."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.mm.checks.boxes import Report
from benchmarks.mm.checks.image_files import listed, sizes
from pretrain.base.faults import Fault, printable

LARGEST = 4 << 20  # bytes of an annotation; those of VOC have a few thousand
NAME = 200  # characters of a class's name


class Thing(NamedTuple):
    """A VOC object. box: x1, y1, x2, y2 in pixels from 0, both corners inside the box."""

    name: str
    box: tuple[int, int, int, int]
    difficult: bool


def things(path: Path, size: tuple[int, int]) -> tuple[list[Thing], Counter[str]]:
    """The usable objects of a VOC annotation, cut to an image of `size` (width, height), and the oddities
    found.

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
            edges = [
                int(float(node.findtext(f"bndbox/{edge}") or "")) - 1
                for edge in ("xmin", "ymin", "xmax", "ymax")
            ]
            difficult = bool(int(node.findtext("difficult") or 0))
        except (ValueError, OverflowError):
            raise Fault(
                "data-corrupt", f"{path}: object {number} has no number where one is expected"
            ) from None
        if not name:
            raise Fault("data-corrupt", f"{path}: object {number} has no name")
        if len(name) > NAME or not name.isprintable():
            shown = printable(name, 40)
            said = f"has name '{shown}', expected printable text of {NAME} characters or fewer"
            raise Fault("data-corrupt", f"{path}: object {number} {said}")
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
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise Fault("data-missing", f"{path} is not there, though its image is listed") from None
    except OSError as error:
        raise Fault("data-corrupt", f"{path} cannot be read: {error.strerror}") from None
    try:
        if len(text) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST} bytes")
        # Entities, which can grow without bound, are declared there; zeros go because of UTF-16.
        if b"<!DOCTYPE" in text.replace(b"\0", b"").upper():
            raise ValueError("it declares a document type, which no VOC annotation does")
        return ET.fromstring(text)
    except (ET.ParseError, LookupError, ValueError) as error:
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
