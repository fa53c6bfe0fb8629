"""The embedded demo data: scenes of real scanned digits, written to disk in the layouts of the real data
sets.

    imagenet/       10 classes, the digit; lists of all images and of the 1 % and 10 % subsets
    inat18/         20 classes, digit and whether it lies on its side; a long tail in training
    places205/      8 classes, the backdrop's texture and whether it shows one large digit or three small ones
    VOCdevkit/      VOC2007 (boxes) and VOC2012 (boxes, masks, augmented masks), 1 to 4 digits in an image
    coco/           instances as polygons, crowds as run lengths
    cityscapes/     wide images with label maps
    manifest.json   the Size that was written, and its counts

The loaders that read the real sets read these, so a demo run exercises the code that a paper run uses.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pretrain.base.faults import Fault
from pretrain.base.files import explained
from pretrain.data.embedded import coco, dense, lists
from pretrain.data.embedded.drawing import SplitName

CONTENT = "scenes composed from scikit-learn's scanned digits"


@dataclass(frozen=True)
class Size:
    """Everything that decides what is written: images in each split, scene sizes in pixels, seed, version.

    `version` is raised whenever the same numbers would draw other scenes, so that older data is rewritten.
    Half of VOC2012's train images are segmented, the other half form its augmented list; half of its val
    images are segmented. `voc_side` is the middle of VOC and COCO widths and heights, which vary by a sixth
    either way.

    Raises:
        Fault: a split too small to show each of its classes.
    """

    imagenet_train: int
    imagenet_val: int
    inat18_train: int
    inat18_val: int
    places205_train: int
    places205_val: int
    voc2007_train: int
    voc2007_val: int
    voc2007_test: int
    voc2012_train: int
    voc2012_val: int
    coco_train: int
    coco_val: int
    cityscapes_train: int
    cityscapes_val: int
    list_side: int
    voc_side: int
    cityscapes_height: int
    seed: int
    version: int = 2

    def __post_init__(self) -> None:
        classes = {"inat18": lists.SPECIES, "places205": len(lists.PLACES), "voc2012": 20}
        for field in fields(self):
            name, _, split = field.name.partition("_")
            least = classes.get(name, 10)
            if split in ("train", "val", "test") and getattr(self, field.name) < least:
                raise Fault(
                    "bad-config",
                    f"demo data: {field.name} must be at least {least} images for every class to be shown, "
                    f"got {getattr(self, field.name)}; enlarge it",
                )


DEMO = Size(
    imagenet_train=4000, imagenet_val=1000,
    inat18_train=2000, inat18_val=600,
    places205_train=2000, places205_val=600,
    voc2007_train=300, voc2007_val=300, voc2007_test=600,
    voc2012_train=200, voc2012_val=200,
    coco_train=400, coco_val=150,
    cityscapes_train=200, cityscapes_val=80,
    list_side=32, voc_side=96, cityscapes_height=96,
    seed=0,
)  # fmt: skip

SMOKE = replace(
    DEMO,
    imagenet_train=800, imagenet_val=300,
    inat18_train=400, inat18_val=160,
    places205_train=400, places205_val=120,
    voc2007_train=60, voc2007_val=60, voc2007_test=120,
    voc2012_train=40, voc2012_val=40,
    coco_train=80, coco_val=30,
    cityscapes_train=40, cityscapes_val=20,
)  # fmt: skip


SIZES = {"demo": DEMO, "smoke": SMOKE}


def counts(size: Size) -> dict[str, dict[str, int]]:
    """Images listed in each split of each data set that `write` makes, e.g. ["voc2012_segmentation"]["aug"].

    The 1 % and 10 % lists take their share of each class rounded up, so that none is missing: of a small set
    the "1 %" list may hold more than that.
    """
    per_class = lists.per_class(size.imagenet_train)
    return {
        "imagenet": {
            "train": size.imagenet_train,
            "val": size.imagenet_val,
            "train_1percent": sum(math.ceil(n / 100) for n in per_class),
            "train_10percent": sum(math.ceil(n / 10) for n in per_class),
        },
        "inat18": {"train": size.inat18_train, "val": size.inat18_val},
        "places205": {"train": size.places205_train, "val": size.places205_val},
        "voc2007": {
            "train": size.voc2007_train,
            "val": size.voc2007_val,
            "trainval": size.voc2007_train + size.voc2007_val,
            "test": size.voc2007_test,
        },
        "voc2012": {
            "train": size.voc2012_train,
            "val": size.voc2012_val,
            "trainval": size.voc2012_train + size.voc2012_val,
        },
        "voc2012_segmentation": {
            "train": size.voc2012_train // 2,
            "val": size.voc2012_val // 2,
            "aug": size.voc2012_train - size.voc2012_train // 2,
        },
        "coco": {"train": size.coco_train, "val": size.coco_val},
        "cityscapes": {"train": size.cityscapes_train, "val": size.cityscapes_val},
    }


def write(root: Path, size: Size) -> None:
    """Makes `root` hold the demo data of this size; a root that holds it already is left alone.

    Everything is written to `<root>.partial` and renamed when complete, so a write that was killed leaves no
    root behind and the next call starts again. A root of another size, or with files missing, is replaced.
    Only one process at a time may write a root.

    Raises:
        Fault: the root holds files but no manifest of demo data, so it is somebody else's and is not
            touched; or the disk is full.
    """
    root = root.resolve()
    found = _manifest(root)
    if found is not None and found == _describe(size, found["files"]) and _files(root) >= found["files"]:
        return
    if found is None and root.exists() and any(root.iterdir()):
        raise Fault(
            "bad-config",
            f"{root}: expected a new or empty folder for the demo data, or one that holds it already, found files "
            "without its manifest.json; choose another folder",
        )
    partial, replaced = root.with_name(f"{root.name}.partial"), root.with_name(f"{root.name}.replaced")
    for folder in (partial, replaced):
        shutil.rmtree(folder, ignore_errors=True)
    with explained(root):
        _write_all(partial, size)
        manifest = _describe(size, _files(partial) + 1)
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    if root.exists():
        root.rename(replaced)
    partial.rename(root)
    shutil.rmtree(replaced, ignore_errors=True)


def _write_all(root: Path, size: Size) -> None:
    side, seed = size.list_side, size.seed
    lists.write_imagenet(root / "imagenet", size.imagenet_train, size.imagenet_val, side, seed)
    lists.write_inat18(root / "inat18", size.inat18_train, size.inat18_val, side, seed)
    lists.write_places205(root / "places205", size.places205_train, size.places205_val, side, seed)
    voc2007: dict[SplitName, int] = {"train": size.voc2007_train, "val": size.voc2007_val}
    voc2007["test"] = size.voc2007_test
    dense.write_voc(root / "VOCdevkit/VOC2007", voc2007, size.voc_side, seed)
    voc2012: dict[SplitName, int] = {"train": size.voc2012_train, "val": size.voc2012_val}
    dense.write_voc(root / "VOCdevkit/VOC2012", voc2012, size.voc_side, seed)
    coco.write_coco(root / "coco", size.coco_train, size.coco_val, size.voc_side, seed)
    cityscapes = (size.cityscapes_train, size.cityscapes_val, size.cityscapes_height)
    dense.write_cityscapes(root / "cityscapes", *cityscapes, seed)


def _describe(size: Size, files: int) -> dict[str, Any]:
    return {"content": CONTENT, "size": asdict(size), "counts": counts(size), "files": files}


def _manifest(root: Path) -> dict[str, Any] | None:
    """The root's manifest, or None where there is none or it is not of demo data."""
    try:
        found = json.loads((root / "manifest.json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("content") == CONTENT else None


def _files(root: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(root))
