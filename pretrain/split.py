"""A split: the files of one part of a data set with their labels. No pixels are read here, and no torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pretrain.faults import Fault

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
# Above this many files a fingerprint reads the sizes of an even sample: a full stat of ImageNet takes minutes.
STAT_ALL = 50_000


@dataclass(frozen=True, eq=False)
class Split:
    """Files and labels. labels: int64 (N,), or int8 (N, C) of VOC values 1 / 0 (absent) / -1 (ignore), or None."""

    name: str
    root: Path
    files: tuple[str, ...]
    labels: npt.NDArray[np.int64] | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def path(self, i: int) -> Path:
        return self.root / self.files[i]

    def fingerprint(self) -> str:
        """SHA-256 over relative paths, file sizes (all, or a sample of a large set) and labels; 16 hex digits."""
        digest = hashlib.sha256("\n".join(self.files).encode())
        step = max(1, len(self.files) // STAT_ALL)
        for i in range(0, len(self.files), step):
            digest.update(str(_size(self.path(i), self.name)).encode() + b",")
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()[:16]


def tree_fingerprint(root: Path, layout: str) -> str:
    """SHA-256 over names and sizes of all files below a folder (sizes of a sample of a large one); 16 hex digits."""
    require(root, layout)
    found = sorted(os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names)
    digest = hashlib.sha256("\n".join(os.path.relpath(path, root) for path in found).encode())
    for path in found[:: max(1, len(found) // STAT_ALL)]:
        digest.update(str(os.stat(path).st_size).encode() + b",")
    return digest.hexdigest()[:16]


def require_same_classes(splits: Mapping[str, Split]) -> None:
    """Raises Fault (data-corrupt) where a split's labels do not mean what those of the split `train` mean.

    Class names must be equal. Lists name classes by number and need not show every class: there no label may lie
    beyond those of `train`.
    """
    train = splits.get("train")
    if train is None or train.labels is None:
        return
    for split in splits.values():
        if split.labels is None or split.classes == train.classes:
            continue
        if _numbered(split) or _numbered(train):
            if len(split.classes) > len(train.classes):
                said = f"labels up to {len(split.classes) - 1}, {train.name} only up to {len(train.classes) - 1}"
                raise Fault("data-corrupt", f"{split.name} has {said}; use lists of the same classes")
            continue
        only = [
            f"only in {a.name}: {_some(set(a.classes) - set(b.classes))}" for a, b in ((train, split), (split, train))
        ]
        said = f"{split.name} ({split.root}) and {train.name} ({train.root}) must have the same classes"
        raise Fault("data-corrupt", f"{said}; {'; '.join(only)}; complete or remove these classes")


def _numbered(split: Split) -> bool:
    return split.classes == tuple(map(str, range(len(split.classes))))


def _some(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown or "none"


def _size(path: Path, name: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        raise Fault("data-missing", f"{name} lists {path}, which is not there; restore the file or the list") from None


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
    return Split(name, root, tuple(files), np.array(labels, dtype=np.int64), tuple(map(str, range(known))))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers in the file."""
    with path.open(encoding="utf-8") as file:
        yield from ((number, line.rstrip()) for number, line in enumerate(file, start=1) if line.strip())


def from_class_folders(name: str, root: Path) -> Split:
    """A split from one folder per class; labels follow the sorted folder names."""
    classes = tuple(sorted(entry.name for entry in os.scandir(root) if entry.is_dir()))
    files, labels = [], []
    for label, folder in enumerate(classes):
        found = _images(root, folder)
        if not found:
            raise Fault("data-missing", f"{name}: class folder {root / folder} holds no image ({IMAGE_ENDINGS})")
        files += found
        labels += [label] * len(found)
    return Split(name, root, tuple(files), np.array(labels, dtype=np.int64), classes)


def from_folder(name: str, root: Path) -> Split:
    """A split of every image below a folder, unlabelled, sorted by path."""
    files = sorted(
        os.path.relpath(os.path.join(folder, file), root)
        for folder, _, names in os.walk(root)
        for file in names
        if file.lower().endswith(IMAGE_ENDINGS)
    )
    if not files:
        raise Fault("data-missing", f"{name}: no image ({', '.join(IMAGE_ENDINGS)}) below {root}")
    return Split(name, root, tuple(files), None, ())


def _images(root: Path, folder: str) -> list[str]:
    entries = os.scandir(root / folder)
    return sorted(f"{folder}/{entry.name}" for entry in entries if entry.name.lower().endswith(IMAGE_ENDINGS))


def require(path: Path, layout: str) -> Path:
    """The path if it exists; otherwise a data-missing fault that says which layout is expected."""
    if not path.exists():
        raise Fault("data-missing", f"{path} is not there; expected layout: {layout}")
    return path
