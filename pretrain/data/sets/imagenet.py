"""ImageNet-1k, or any images in its layout: folders train/ and val/ with one sub-folder per class.

Instead of a folder a part may be shards, train-0000.tar ..., or tables of Hugging Face, train-*.parquet.
Tiny ImageNet is read as it is unpacked: images one folder below their class, and a val/ that is labelled by a
file instead of by folders.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pretrain.base.faults import Fault
from pretrain.data import shards, tables
from pretrain.data.dataset import DataSet
from pretrain.data.lists import lines
from pretrain.data.split import (
    Split,
    class_folders,
    from_class_folders,
    from_list,
    images_below,
    require,
)

LAYOUT = (
    "train/<class>/*.JPEG, val/<class>/*.JPEG (valid/, validation/ or test/ where there is no val/; or "
    "val/images/*.JPEG with val/val_annotations.txt); or shards train-*.tar and val-*.tar, or tables "
    "train-*.parquet and val-*.parquet; optional meta/train.txt and meta/val.txt with lines "
    "'<class>/<file> <label>'; meta/train_1percent.txt and meta/train_10percent.txt for semi-supervised runs"
)
# The 1 % and 10 % lists are SimCLR's (google-research/simclr, imagenet_subsets).
COUNTS = {"train": 1_281_167, "val": 50_000, "train_1percent": 12_811, "train_10percent": 128_116}
STAND_INS = {"val": ("valid", "validation", "test")}
FLAT = "images"  # Tiny ImageNet keeps all images of val/ and test/ in this folder


def read(root: Path, name: str) -> Split:
    """One of the splits in COUNTS. A list file under meta/ wins over the class folders."""
    part, full_name, list_file = name.partition("_")[0], f"{root.name}/{name}", root / "meta" / f"{name}.txt"
    listed = list_file.exists() or "percent" in name
    packed, looked = ([], []) if listed else _packed(root, part)
    if packed:
        found = shards.split(full_name, root / part, packed)
        return replace(found, sources=(*packed, *looked, list_file))  # what appears there would win
    if listed:
        _require_unpacked(root, part, list_file)
    folder, looked = _folder(root, part)
    if not listed:
        found = _from_folders(full_name, folder, root)
        return replace(found, sources=(*found.sources, *looked, list_file))
    first = next((line.strip() for _, line in lines(require(list_file, LAYOUT))), "")
    if "percent" in name and " " not in first and "/" not in first:
        return _from_simclr_list(full_name, folder, list_file)
    others = [root / "meta" / f"{other}.txt" for other in ("train", "val") if other != name]
    found = from_list(full_name, folder, list_file, beside=others)
    if "percent" in name and not others[1].exists():
        found = _with_classes_of_val(found, root)
    return replace(found, sources=(*found.sources, *looked))


def _with_classes_of_val(found: Split, root: Path) -> Split:
    """A list of few labels with as many classes as val/ has folders: of the last it may have no image."""
    places = [root / name for name in ("val", *STAND_INS["val"])]
    folders = next((set(class_folders(place)) - {FLAT} for place in places if place.is_dir()), set[str]())
    classes = tuple(map(str, range(max(len(found.classes), len(folders)))))
    return replace(found, classes=classes, sources=(*found.sources, *places))


def _packed(root: Path, part: str) -> tuple[list[Path], list[Path]]:
    """The shards of a part, where no class folders of it are there, and what tells that they are others:
    their tables and the folders that were looked into. validation-*.tar stands in for val.
    """
    looked = [root, root / "data"]
    for name in (part, *STAND_INS.get(part, ())):
        looked.append(root / name)
        if (root / name).is_dir() and class_folders(root / name):
            return [], []
        if found := shards.found(root, name):
            return found, looked
        if found := tables.found(root, name):
            return tables.shards(root, name, found), [*found, *looked]
    return [], []


def _require_unpacked(root: Path, part: str, list_file: Path) -> None:
    """Raises Fault (data-missing) where images of which a list would name some lie in shards or tables."""
    if not (root / part).exists() and (packed := shards.found(root, part) or tables.found(root, part)):
        said = f"{list_file} must name files below {root / part}, but the images are packed in {packed[0]}"
        raise Fault("data-missing", f"{said}; unpack them into {part}/<class>/, or do without this list")


def _folder(root: Path, part: str) -> tuple[Path, list[Path]]:
    """The folder of a part, and those that were looked for before it. A stand-in must hold classes."""
    folder = root / part
    if folder.exists() or part not in STAND_INS:
        return require(folder, LAYOUT), []
    looked = [folder]
    for name in STAND_INS[part]:
        place = root / name
        if place.is_dir() and set(class_folders(place)) - {FLAT}:
            return place, looked
        looked.append(place)
    names = ", ".join(f"{place.name}/" for place in looked)
    said = f"none of {names} with class folders is there; expected layout: {LAYOUT}"
    raise Fault("data-missing", f"{folder} is not there: in {root}, {said}")


def _from_folders(name: str, folder: Path, root: Path) -> Split:
    notes = folder / f"{folder.name}_annotations.txt"
    if notes.is_file() and set(class_folders(folder)) <= {FLAT}:
        return _from_annotations(name, folder, notes, root / "train")
    return from_class_folders(name, folder)


def _from_annotations(name: str, folder: Path, notes: Path, train: Path) -> Split:
    """Tiny ImageNet's val/: lines `file<tab>class<tab>box`; labels follow the class folders of train/."""
    pairs = list[tuple[str, str]]()
    for number, line in lines(notes):
        row = line.split("\t")
        if len(row) < 2 or not all(row[:2]):
            raise Fault("data-corrupt", f"{notes}:{number}: expected 'file<tab>class<tab>box', got '{line}'")
        pairs.append((f"{FLAT}/{row[0]}", row[1]))
    pairs.sort()
    classes = class_folders(train) if train.is_dir() else tuple(sorted({label for _, label in pairs}))
    number_of = {label: i for i, label in enumerate(classes)}
    for file, label in pairs:
        if label not in number_of:
            raise Fault("data-corrupt", f"{notes}: no class folder in {train} for '{label}' of {file}")
    labels = np.array([number_of[label] for _, label in pairs], dtype=np.int64)
    sources = (folder, folder / FLAT, notes, train)
    return Split(name, folder, tuple(file for file, _ in pairs), labels, classes, sources)


def _from_simclr_list(name: str, folder: Path, list_file: Path) -> Split:
    """SimCLR's lists hold bare names, `n01440764_10043.JPEG`: the class is the longest folder name before a
    `_`.
    """
    classes = class_folders(folder)
    number, members = {label: i for i, label in enumerate(classes)}, dict[str, list[str]]()
    names = [line.strip() for _, line in lines(list_file)]
    owners = [_class_of(file, number) for file in names]
    for file, owner in zip(names, owners, strict=True):
        if not owner:
            raise Fault("data-corrupt", f"{list_file}: no class folder in {folder} for '{file}'")
        members.setdefault(owner, []).append(file)
    places = {
        file: path for owner in members for file, path in _places(folder, owner, members[owner]).items()
    }
    labels = np.array([number[owner] for owner in owners], dtype=np.int64)
    files = tuple(places[file] for file in names)
    return Split(name, folder, files, labels, classes, (folder, list_file))


def _class_of(file: str, classes: dict[str, int]) -> str:
    """The longest class that the file's name starts with, followed by `_`; '' where there is none."""
    start = file
    while "_" in start:
        start = start.rpartition("_")[0]
        if start in classes:
            return start
    return ""


def _places(folder: Path, label: str, names: list[str]) -> dict[str, str]:
    """Where below `folder` the images of a class lie: in its folder, or deeper."""
    direct = {name: f"{label}/{name}" for name in names}
    if (folder / direct[names[0]]).exists():  # one look per class: lists of ImageNet are long
        return direct
    below, _ = images_below(folder, folder / label)
    return direct | {path.rpartition("/")[2]: path for path in below if path.rpartition("/")[2] in direct}


DATASET = DataSet(LAYOUT, read=read, counts=COUNTS)
