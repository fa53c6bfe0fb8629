"""Very small jobs of detection and segmentation: their weights, their images and their settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.mm.bridge.job import Job
from benchmarks.mm.bridge.settings import Detection, Segmentation
from benchmarks.protocols.detection import protocol as detection
from benchmarks.protocols.segmentation import protocol as segmentation
from pretrain.base.settings import changed
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build

SIDE = 40  # px; mmdet leaves images below 32 out


def backbone(path: Path) -> Path:
    """Seeded weights, saved."""
    checkpoint.save(path, build("resnet10_narrow", Input(size=32, resize=32), seed=5), "resnet10_narrow", {})
    return path


def scene(rng: np.random.Generator) -> tuple[Image.Image, list[int]]:
    """Noise with one bright square, and the square's x1, y1, x2, y2."""
    image = Image.fromarray(rng.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8))
    x, y = rng.integers(2, SIDE - 18, 2).tolist()
    ImageDraw.Draw(image).rectangle((x, y, x + 14, y + 14), (250, 240, 230))
    return image, [x, y, x + 14, y + 14]


def scenes(root: Path) -> Path:
    """Six scenes as VOC 2007 boxes, COCO instances (one without a mask) and VOC 2012 masks."""
    rng = np.random.default_rng(0)
    folders = ("VOC2007/JPEGImages", "VOC2007/Annotations", "VOC2012/JPEGImages", "VOC2012/SegmentationClass")
    lists = ("VOC2007/ImageSets/Main/trainval.txt", "VOC2012/ImageSets/Segmentation/train.txt")
    for folder in (*folders, "train2017", "annotations"):
        (root / folder).mkdir(parents=True)
    annotations = []
    for i in range(6):
        image, (x1, y1, x2, y2) = scene(rng)
        for folder in (folders[0], folders[2], "train2017"):
            image.save(root / folder / f"{i}.jpg")
        corners = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2 + 1}</xmax><ymax>{y2 + 1}</ymax>"
        thing = f"<object><name>square</name><bndbox>{corners}</bndbox></object>"
        (root / folders[1] / f"{i}.xml").write_text(f"<annotation>{thing}</annotation>")
        mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
        mask[y1 : y2 + 1, x1 : x2 + 1] = 1
        Image.fromarray(mask).save(root / folders[3] / f"{i}.png")
        outline = [[x1, y1, x2, y1, x2, y2, x1, y2]] if i else []
        annotations.append({"id": i + 1, "image_id": i, "category_id": 3, "segmentation": outline})
        annotations[-1] |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": 196, "iscrowd": 0}
    for path in map(root.joinpath, lists):
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"{i}\n" for i in range(6)))
    images = [{"id": i, "file_name": f"{i}.jpg", "width": SIDE, "height": SIDE} for i in range(6)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "square"}]}
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    return root


TINY: dict[str, Any] = {"batch_size": 2, "reference_batch": 2}
BOXES: dict[str, Any] = {**TINY, "train_sides": (32,), "test_side": 32, "long_side": 32, "region": 4}
MASKS: dict[str, Any] = {
    **TINY,
    "train_lists": (("train", "SegmentationClass"),),
    "classes": 2,
    "scale": (32, 32),
}
SETTINGS: dict[str, Detection | Segmentation] = {
    "voc": changed(
        detection.TINY[0].settings,
        **{
            **BOXES,
            "train_lists": ("VOC2007/trainval",),
            "test_list": "VOC2007/trainval",
            "length": 4,
            "drops": (3,),
        },
    ),
    "coco": changed(
        detection.TINY[1].settings,
        **{**BOXES, "test_list": "train2017", "length": 1, "drops": (), "roi_samples": 16},
    ),
    "masks": changed(
        segmentation.TINY[0].settings,
        **{**MASKS, "test_list": ("train", "SegmentationClass"), "crop": 32},
        iterations=4,
    ),
}


def job(weights: Path, data: Path, work: Path, name: str, seed: int = 0) -> Job:
    sha256 = checkpoint.describe(weights).sha256
    work.mkdir(parents=True, exist_ok=True)
    return Job(
        weights=weights, sha256=sha256, root=data, work=work, seed=seed, gpus=0, settings=SETTINGS[name]
    )
