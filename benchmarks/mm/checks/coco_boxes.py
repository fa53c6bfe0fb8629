"""COCO instances as found on disk: read, checked, the odd ones counted; and as a trainer needs them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.mm.checks import coco_entries
from benchmarks.mm.checks.boxes import Report
from benchmarks.mm.checks.image_files import named, sizes
from pretrain.base.faults import Fault


def read_coco(path: Path) -> dict[str, Any]:
    """The content of an instances file. Raises Fault where it is absent, no json or not of that kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError:
        raise Fault("data-missing", f"{path} is not there") from None
    except OSError as error:
        raise Fault("data-corrupt", f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Fault("data-corrupt", f"{path} is not json: {error}") from None
    except RecursionError:
        raise Fault("data-corrupt", f"{path} is not COCO instances: it is nested too deeply") from None
    missing = {"images", "annotations", "categories"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise Fault("data-corrupt", f"{path} has no {', '.join(sorted(missing))}; expected COCO instances")
    return dict(content)


def check_coco(path: Path, content: dict[str, Any], folder: Path, smallest: int = 0) -> Report:
    """What an instances file holds; every image is looked at. Classes are its categories in the order of the
    file.

    smallest: short side in pixels from which on the boxes of an image are usable.

    Raises:
        Fault: an image that is absent, broken or of another size, a category that is not declared, entries
            that lack what they need, or annotations that share an id.
    """
    coco_entries.check(path, content)
    images = {image["id"]: image for image in content["images"]}
    paths = [folder / image["file_name"] for image in images.values()]
    for path_, image, size in zip(paths, images.values(), sizes(paths), strict=True):
        if size != (image["width"], image["height"]):
            raise Fault(
                "data-corrupt", f"{path} says {path_} is {image['width']} x {image['height']}, it is {size}"
            )
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
            usable[categories[ann["category_id"]]] += (
                plain and min(image["width"], image["height"]) >= smallest
            )
    odd["images_without_boxes"] = len(images) - len(seen)
    odd["images_not_listed"] = _not_listed(folder, {p.name for p in paths})
    return Report(len(images), tuple(categories.values()), odd, +usable)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _not_listed(folder: Path, names: set[str]) -> int:
    return sum(
        1
        for file in folder.iterdir()
        if file.suffix.lower() in (".jpg", ".jpeg", ".png") and file.name not in names
    )


def _oddities(ann: dict[str, Any], image: dict[str, Any] | None) -> list[str]:
    if image is None:
        return ["boxes_without_image"]
    x, y, w, h = ann["bbox"]
    wide = min(x + w, image["width"]) - max(x, 0)
    high = min(y + h, image["height"]) - max(y, 0)
    # The bounds that mmdet drops a box at; COCO's own files round boxes to hundredths of a pixel beyond the
    # edge.
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
    return any(map(_encloses, shape or ()))


def _encloses(polygon: list[float]) -> bool:
    """Whether a polygon has three points or more."""
    return len(polygon) >= 6 and len(polygon) % 2 == 0


def completed(content: dict[str, Any]) -> dict[str, Any]:
    """The instances with what mmdet and pycocotools take for granted: `area` and `iscrowd`, no annotation
    without an image, and no polygon without three points, which the one passes over and the other fails on.
    """
    images = {image["id"] for image in content["images"]}
    fixed = [
        {"area": ann["bbox"][2] * ann["bbox"][3], "iscrowd": 0, **_without_scraps(ann)}
        for ann in content["annotations"]
        if ann["image_id"] in images
    ]
    return {**content, "annotations": fixed}


def _without_scraps(ann: dict[str, Any]) -> dict[str, Any]:
    shape = ann.get("segmentation")
    return {**ann, "segmentation": list(filter(_encloses, shape))} if isinstance(shape, list) else ann


def with_empty_masks(content: dict[str, Any]) -> dict[str, Any]:
    """The instances with an empty run-length mask for every box that has none; see `heads.PartlyMasked`."""
    size = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    fixed = []
    for ann in content["annotations"]:
        h, w = size[ann["image_id"]]
        fixed.append(ann if has_mask(ann) else {**ann, "segmentation": {"size": [h, w], "counts": [h * w]}})
    return {**content, "annotations": fixed}


def mask_truth(content: dict[str, Any]) -> dict[str, Any]:
    """The instances as mask AP counts them: a box without a mask
    becomes a crowd, which no detection is wrong on.
    """
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
