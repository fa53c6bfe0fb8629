"""Which files a detection or segmentation benchmark reads, for
its data's fingerprint. No torch and no mm package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.mm.bridge.settings import Detection, Segmentation
from benchmarks.mm.checks import coco_boxes, label_maps, voc_boxes
from benchmarks.mm.checks.image_files import inside, listed
from pretrain.base.faults import Fault
from pretrain.data.fingerprint import Inventory


def of(root: Path, settings: Detection | Segmentation) -> Inventory:
    """What a benchmark with these settings reads below the data
    set's folder. Raises Fault where it is not there.
    """
    if isinstance(settings, Segmentation):
        return _voc_masks(root, settings) if settings.layout == "voc" else _cityscapes(root, settings)
    return _voc_boxes(root, settings) if settings.model == "faster_rcnn_c4" else _coco(root, settings)


def _voc_boxes(root: Path, settings: Detection) -> Inventory:
    """The lists, and of every image that they name the annotation and the picture."""
    lists, texts, images = [], list[Path](), list[Path]()
    for name in (*settings.train_lists, settings.test_list):
        lists.append(voc_boxes.voc_list(root, name))
        year, ids = root / name.partition("/")[0], listed(lists[-1])
        texts += [year / "Annotations" / f"{i}.xml" for i in ids]
        images += [year / "JPEGImages" / f"{i}.jpg" for i in ids]
    return Inventory("VOCdevkit", root, lists, [*lists, *texts], images, 0)


def _coco(root: Path, settings: Detection) -> Inventory:
    """The instances files, and every image that they name."""
    texts, images = list[Path](), list[Path]()
    for name in (*settings.train_lists, settings.test_list):
        texts.append(root / "annotations" / f"instances_{name}.json")
        for number, image in enumerate(_listed(texts[-1])):
            if not isinstance(image, dict) or not inside(image.get("file_name")):
                said = f"image entry {number} has no file_name below the folder of images"
                raise Fault("data-corrupt", f"{texts[-1]}: {said}")
            images.append(root / name / image["file_name"])
    return Inventory("coco", root, texts, texts, images, 0)


def _voc_masks(root: Path, settings: Segmentation) -> Inventory:
    base = root / "VOC2012"
    parts = (*settings.train_lists, settings.test_list)
    lists = [label_maps.voc_list(base, name) for name, _ in parts]
    pairs = [pair for part in parts for pair in label_maps.voc_pairs(base, *part)]
    return Inventory(
        "VOCdevkit", root, lists, [*lists, *(p.mask for p in pairs)], [p.image for p in pairs], 0
    )


def _cityscapes(root: Path, settings: Segmentation) -> Inventory:
    """Everything in the folders of the parts: Cityscapes has no lists."""
    parts = [name for name, _ in (*settings.train_lists, settings.test_list)]
    pairs = [pair for part in parts for pair in label_maps.cityscapes_pairs(root, part)]
    folders = sorted(
        {path.parent for pair in pairs for path in pair} | {root / "leftImg8bit" / part for part in parts}
    )
    return Inventory("cityscapes", root, folders, [p.mask for p in pairs], [p.image for p in pairs], 0)


def _listed(path: Path) -> list[Any]:
    images = coco_boxes.read_coco(path)["images"]
    if not isinstance(images, list):
        raise Fault("data-corrupt", f"{path}: images is a {type(images).__name__}, expected a list")
    return images
