"""Reads what the embedded data sets wrote, without any of the code that wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def objects(annotation: Path) -> list[tuple[str, bool, tuple[int, int, int, int]]]:
    """(class, difficult, box with half-open pixel coordinates) of each object, in the file's order."""
    found = []
    for node in ElementTree.parse(annotation).iter("object"):
        xmin, ymin, xmax, ymax = (
            int(node.findtext(f"bndbox/{tag}", "")) for tag in ("xmin", "ymin", "xmax", "ymax")
        )
        found.append(
            (node.findtext("name", ""), node.findtext("difficult") == "1", (xmin - 1, ymin - 1, xmax, ymax))
        )
    return found


def tight_box(mask: NDArray[np.generic]) -> list[int]:
    """x, y, width, height, by looking at every pixel."""
    inside = [(x, y) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]]
    xs, ys = [x for x, _ in inside], [y for _, y in inside]
    return [min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1]


def on_disk(root: Path) -> dict[str, dict[str, int]]:
    """Images that the lists name and that open, counted set by set without any of our code."""

    def listed(set_: str, images: dict[str, str]) -> dict[str, int]:
        return {name: sum(opens(root / set_ / images[name] / line.rpartition(" ")[0])
                          for line in lines(root / set_ / f"meta/{name}.txt")) for name in images}  # fmt: skip

    def ids(year: str, task: str, names: tuple[str, ...]) -> dict[str, int]:
        base = root / "VOCdevkit" / year
        return {name: sum(opens(base / f"JPEGImages/{i}.jpg") for i in lines(base / f"ImageSets/{task}/{name}.txt"))
                for name in names}  # fmt: skip

    coco = {name: json.loads((root / f"coco/annotations/instances_{name}2017.json").read_text())["images"]
            for name in ("train", "val")}  # fmt: skip
    subsets = {"train": "train", "val": "val", "train_1percent": "train", "train_10percent": "train"}
    return {
        "imagenet": listed("imagenet", subsets),
        "inat18": listed("inat18", dict.fromkeys(("train", "val"), "train_val2018")),
        "places205": listed("places205", dict.fromkeys(("train", "val"), "images")),
        "voc2007": ids("VOC2007", "Main", ("train", "val", "trainval", "test")),
        "voc2012": ids("VOC2012", "Main", ("train", "val", "trainval")),
        "voc2012_segmentation": ids("VOC2012", "Segmentation", ("train", "val", "aug")),
        "coco": {name: sum(opens(root / f"coco/{name}2017/{image['file_name']}") for image in images)
                 for name, images in coco.items()},
        "cityscapes": {name: sum(map(opens, (root / f"cityscapes/leftImg8bit/{name}").glob("*/*_leftImg8bit.png")))
                       for name in ("train", "val")},
    }  # fmt: skip


def opens(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
        return image.mode == "RGB"
