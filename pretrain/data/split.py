"""A split: the files of one part of a data set with their labels. No pixels are read here, and no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pretrain.base.faults import Fault

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")


@dataclass(frozen=True, eq=False)
class Split:
    """Files and labels. labels: int64 (N,), or int8 (N, C) of VOC values 1 / 0 (absent) / -1 (ignore), or
    None.

    sources: the folders and list files that say which images belong.
    """

    name: str
    root: Path
    files: tuple[str, ...]
    labels: npt.NDArray[np.int64] | None
    classes: tuple[str, ...]
    sources: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def path(self, i: int) -> Path:
        return self.root / self.files[i]


def require_same_classes(splits: Mapping[str, Split]) -> None:
    """Raises Fault (data-corrupt) where a split's labels do not mean what those of the split `train` mean.

    Class names must be equal. Lists name classes by number and need not show every class: there no label may
    lie beyond those of `train`.
    """
    train = splits.get("train")
    if train is None or train.labels is None:
        return
    for split in splits.values():
        if split.labels is None or split.classes == train.classes:
            continue
        if _numbered(split) or _numbered(train):
            if len(split.classes) > len(train.classes):
                said = (
                    f"labels up to {len(split.classes) - 1}, {train.name} only up to {len(train.classes) - 1}"
                )
                raise Fault("data-corrupt", f"{split.name} has {said}; use lists of the same classes")
            continue
        only = [
            f"only in {a.name}: {_some(set(a.classes) - set(b.classes))}"
            for a, b in ((train, split), (split, train))
        ]
        said = f"{split.name} ({split.root}) and {train.name} ({train.root}) must have the same classes"
        raise Fault("data-corrupt", f"{said}; {'; '.join(only)}; complete or remove these classes")


def _numbered(split: Split) -> bool:
    return split.classes == tuple(map(str, range(len(split.classes))))


def _some(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown or "none"


def from_list(name: str, root: Path, list_file: Path, classes: int | None = None) -> Split:
    """A split from lines `relative/path label` (cut at the last blank). Raises Fault naming file and line."""
    files, labels = [], []
    for number, line in _lines(list_file):
        path, _, label = line.rpartition(" ")
        if not path or not label.isdigit():
            raise Fault("data-corrupt", f"{list_file}:{number}: expected 'relative/path label', got '{line}'")
        files.append(path)
        labels.append(int(label))
    known = max(labels, default=-1) + 1 if classes is None else classes
    numbered = tuple(map(str, range(known)))
    return Split(name, root, tuple(files), np.array(labels, dtype=np.int64), numbered, (list_file,))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers in the file."""
    with path.open(encoding="utf-8") as file:
        yield from ((number, line.rstrip()) for number, line in enumerate(file, start=1) if line.strip())


def from_class_folders(name: str, root: Path) -> Split:
    """A split from one folder per class; labels follow the
    sorted folder names. Hidden folders are no classes.
    """
    classes = tuple(sorted(e.name for e in os.scandir(root) if e.is_dir() and not e.name.startswith(".")))
    files, labels = [], []
    for label, folder in enumerate(classes):
        found = _images(root, folder)
        if not found:
            endings = ", ".join(IMAGE_ENDINGS)
            raise Fault("data-missing", f"{name}: class folder {root / folder} holds no image ({endings})")
        files += found
        labels += [label] * len(found)
    sources = (root, *(root / folder for folder in classes))
    return Split(name, root, tuple(files), np.array(labels, dtype=np.int64), classes, sources)


def from_folder(name: str, root: Path) -> Split:
    """A split of every image below a folder, unlabelled, sorted
    by path. Links are followed, hidden folders not.
    """
    folders, files = [], []
    for folder, names in walk(root):
        folders.append(folder)
        files += [
            os.path.relpath(folder / file, root) for file in names if file.lower().endswith(IMAGE_ENDINGS)
        ]
    if not files:
        raise Fault("data-missing", f"{name}: no image ({', '.join(IMAGE_ENDINGS)}) below {root}")
    return Split(name, root, tuple(sorted(files)), None, (), tuple(folders))


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below a root with its files' names; links
    are followed once each, hidden folders left out.
    """
    seen = set[tuple[int, int]]()
    for folder, inner, names in os.walk(root, followlinks=True):
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in seen:  # a link back to where we have been
            inner.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield Path(folder), sorted(names)


def _images(root: Path, folder: str) -> list[str]:
    entries = os.scandir(root / folder)
    return sorted(f"{folder}/{entry.name}" for entry in entries if entry.name.lower().endswith(IMAGE_ENDINGS))


def require(path: Path, layout: str) -> Path:
    """The path if it exists; otherwise a data-missing fault that says which layout is expected."""
    if not path.exists():
        raise Fault("data-missing", f"{path} is not there; expected layout: {layout}")
    return path
