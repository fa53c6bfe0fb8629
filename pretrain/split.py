"""A split: the files of one part of a data set with their labels. No pixels are read here, and no torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
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


def _size(path: Path, name: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        raise Fault("data-missing", f"{name} lists {path}, which is not there; restore the file or the list") from None


def from_list(name: str, root: Path, list_file: Path, classes: int | None = None) -> Split:
    """A split from lines `relative/path label` (cut at the last blank). Raises Fault naming file and line."""
    files, labels = [], []
    for number, line in enumerate(_lines(list_file), start=1):
        path, _, label = line.rpartition(" ")
        if not path or not label.isdigit():
            raise Fault("data-corrupt", f"{list_file}:{number}: expected 'relative/path label', got '{line}'")
        files.append(path)
        labels.append(int(label))
    known = max(labels, default=-1) + 1 if classes is None else classes
    return Split(name, root, tuple(files), np.array(labels, dtype=np.int64), tuple(map(str, range(known))))


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from (line.rstrip() for line in file if line.strip())


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
