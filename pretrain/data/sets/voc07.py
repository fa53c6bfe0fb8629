"""PASCAL VOC 2007 image-level labels, read from the per-class files of ImageSets/Main."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pretrain.base.faults import Fault
from pretrain.data.dataset import DataSet
from pretrain.data.lists import lines
from pretrain.data.split import Split, require

LAYOUT = (
    "VOC2007/JPEGImages/*.jpg, VOC2007/ImageSets/Main/{trainval,test}.txt and <class>_{trainval,test}.txt"
)
COUNTS = {"trainval": 5011, "test": 4952}
# File value -> ours: 1 present; -1 absent -> 0; 0 only difficult objects -> -1, ignored at test.
VALUES = {1: 1, -1: 0, 0: -1}


def read(root: Path, name: str) -> Split:
    """trainval or test, images by sorted id; labels int8 (N, C) with 1 present, 0 absent, -1 ignore."""
    base = require(root / "VOC2007", LAYOUT)
    lists = require(base / "ImageSets" / "Main", LAYOUT)
    ids = [word for _, line in lines(require(lists / f"{name}.txt", LAYOUT)) for word in line.split()]
    if ids != sorted(ids):
        raise Fault("data-corrupt", f"{lists / name}.txt: expected ids in sorted order; sort the file")
    files = _class_files(lists, name, ids)
    if not files:
        raise Fault("data-missing", f"{lists} holds no <class>_{name}.txt; expected layout: {LAYOUT}")
    labels = np.stack([_column(path, ids) for path in files], axis=1)
    classes = tuple(path.name.removesuffix(f"_{name}.txt") for path in files)
    images = tuple(f"{i}.jpg" for i in ids)
    return Split(
        f"voc07/{name}", base / "JPEGImages", images, labels, classes, (lists, lists / f"{name}.txt", *files)
    )


def _class_files(lists: Path, name: str, ids: list[str]) -> list[Path]:
    """The files `<class>_<split>.txt`, by class: files of `car` and `car_tire` have another order in trainval
    than in test. `cat_left_test.txt` beside `cat_test.txt` is a class of its
    own if it is on all images of the split; VOC has such files on some images, by pose.
    """
    found = (path for path in lists.glob(f"*_{name}.txt") if not path.name.startswith("."))
    files = dict(sorted((path.name.removesuffix(f"_{name}.txt"), path) for path in found))
    poses = {label for label in files if any(label.startswith(f"{other}_") for other in files)}
    return [path for label, path in files.items() if label not in poses or _ids(path) == ids]


def _ids(path: Path) -> list[str]:
    return sorted(line.split()[0] for _, line in lines(path))


def _column(path: Path, ids: list[str]) -> npt.NDArray[np.int64]:
    values = {}
    for number, line in lines(path):
        words = line.split()
        if len(words) != 2 or words[1] not in ("1", "0", "-1"):
            raise Fault("data-corrupt", f"{path}:{number}: expected 'id 1|0|-1', got '{line}'")
        values[words[0]] = VALUES[int(words[1])]
    if sorted(values) != ids:
        raise Fault(
            "data-corrupt", f"{path}: its {len(values)} ids differ from the {len(ids)} of the split's list"
        )
    return np.array([values[i] for i in ids], dtype=np.int64)


DATASET = DataSet(LAYOUT, folder="VOCdevkit", read=read, counts=COUNTS)
