"""ImageNet-1k, or any images in its layout: folders train/ and val/ with one sub-folder per class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pretrain.base.faults import Fault
from pretrain.data.dataset import DataSet
from pretrain.data.split import Split, from_class_folders, from_list, require

LAYOUT = (
    "train/<class>/*.JPEG, val/<class>/*.JPEG; optional meta/train.txt and meta/val.txt with lines "
    "'<class>/<file> <label>'; meta/train_1percent.txt and meta/train_10percent.txt for semi-supervised runs"
)
# The 1 % and 10 % lists are SimCLR's (google-research/simclr, imagenet_subsets).
COUNTS = {"train": 1_281_167, "val": 50_000, "train_1percent": 12_811, "train_10percent": 128_116}


def read(root: Path, name: str) -> Split:
    """One of the splits in COUNTS. A list file under meta/ wins over the class folders."""
    folder = require(root / name.partition("_")[0], LAYOUT)
    full_name, list_file = f"{root.name}/{name}", root / "meta" / f"{name}.txt"
    if not list_file.exists() and "percent" not in name:
        found = from_class_folders(full_name, folder)
        return replace(found, sources=(*found.sources, list_file))  # a list that appears would win
    with require(list_file, LAYOUT).open(encoding="utf-8") as file:
        first = next((line.strip() for line in file if line.strip()), "")
    bare = "percent" in name and " " not in first and "/" not in first
    return (
        _from_simclr_list(full_name, folder, list_file) if bare else from_list(full_name, folder, list_file)
    )


def _from_simclr_list(name: str, folder: Path, list_file: Path) -> Split:
    """SimCLR's lists hold bare names, `n01440764_10043.JPEG`: the class folder is the part before `_`."""
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    number = {label: i for i, label in enumerate(classes)}
    names = list_file.read_text(encoding="utf-8").split()
    strange = [file for file in names if file.partition("_")[0] not in number]
    if strange:
        raise Fault("data-corrupt", f"{list_file}: no class folder in {folder} for '{strange[0]}'")
    labels = np.array([number[file.partition("_")[0]] for file in names], dtype=np.int64)
    files = tuple(f"{file.partition('_')[0]}/{file}" for file in names)
    return Split(name, folder, files, labels, tuple(classes), (folder, list_file))


DATASET = DataSet(LAYOUT, read=read, counts=COUNTS)
