"""A split: the files of one part of a data set with their labels. No pixels are read here, and no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pretrain.base.faults import Fault
from pretrain.base.files import NOT_DATA
from pretrain.data import lists

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


class Place(NamedTuple):
    """Where an image's bytes are: a whole file, or `length` bytes of one from `offset`."""

    path: Path
    offset: int = 0
    length: int = -1

    def opened(self) -> Path | BytesIO:
        """What Pillow opens. Raises OSError."""
        return self.path if self.length < 0 else BytesIO(self.content())

    def content(self) -> bytes:
        """The bytes; fewer where the file ends before. Raises OSError."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


@dataclass(frozen=True, eq=False)
class Packed:
    """Images that lie in shards. where: int64 (N, 3) of the shard, the first byte, how many bytes."""

    shards: tuple[Path, ...]
    where: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Files and labels. labels: int64 (N,), or int8 (N, C) of VOC values 1 / 0 (absent) / -1 (ignore), or
    None.

    sources: the folders and list files that say which images belong; packed: where images lie that are no
    files of their own, whose `files` are what they would be called.
    """

    name: str
    root: Path
    files: tuple[str, ...]
    labels: npt.NDArray[np.int64] | None
    classes: tuple[str, ...]
    sources: tuple[Path, ...] = ()
    excluded: int = 0  # images that were left out on request
    left_out: tuple[str, ...] = ()  # the lines that asked for it
    packed: Packed | None = None
    numbered: bool = False  # a list states the labels: `classes` are mere numbers

    def __len__(self) -> int:
        return len(self.files)

    def path(self, i: int) -> Path:
        return self.root / self.files[i]

    def place(self, i: int) -> Place:
        """Where the bytes of the i-th image are."""
        if self.packed is None:
            return Place(self.path(i))
        shard, offset, length = self.packed.where[i].tolist()
        return Place(self.packed.shards[shard], offset, length)

    def called(self, i: int) -> str:
        """The i-th image for a message: its file, or its shard and its name there."""
        place = self.place(i)
        return str(place.path) if place.length < 0 else f"{place.path}: {self.files[i]}"


def from_list(
    name: str, root: Path, list_file: Path, classes: int | None = None, beside: Sequence[Path] = ()
) -> Split:
    """A split from lines `relative/path label` (cut at the last blank). Raises Fault naming file and line.

    classes: their number; by default the largest label + 1 of this list and of those of `beside` that exist.
    """
    rows = list(lists.rows(list_file))
    if classes is None:
        others = ((other, lists.rows(other)) for other in beside if other.is_file())
        classes = lists.classes([(list_file, rows), *others])
    labels = np.array([row.label for row in rows], dtype=np.int64)
    files, numbers = tuple(row.path for row in rows), tuple(map(str, range(classes)))
    return Split(name, root, files, labels, numbers, (list_file, *beside), numbered=True)


def require_published(split: Split, images: int, classes: int) -> None:
    """Raises Fault (data-corrupt) where a split has as many images as the published one, but other classes.

    Another number of images is somebody's own data, with as many classes as it has.
    """
    if len(split) == images and len(split.classes) != classes:
        said = f"{images:,} images as published, but {len(split.classes):,} classes, expected {classes:,}"
        listed = ", ".join(map(str, split.sources))
        raise Fault("data-corrupt", f"{split.name} has {said}; correct the labels in {listed}")


def from_class_folders(name: str, root: Path) -> Split:
    """A split from one folder per class; labels follow the sorted folder names. An image belongs to the class
    folder it lies below, at any depth. Raises Fault (data-missing) where there is no class, or one is empty.
    """
    classes, endings = class_folders(root), ", ".join(IMAGE_ENDINGS)
    if not classes:
        said = f"{root} holds no class folder; expected one sub-folder per class with its images ({endings})"
        raise Fault("data-missing", f"{name}: {said}")
    files, labels, sources = list[str](), list[int](), [root, *_passed_by(root)]
    for label, folder in enumerate(classes):
        found, folders = images_below(root, root / folder)
        if not found:
            raise Fault("data-missing", f"{name}: class folder {root / folder} holds no image ({endings})")
        files += found
        labels += [label] * len(found)
        sources += folders
    return Split(name, root, tuple(files), np.array(labels, dtype=np.int64), classes, tuple(sources))


def class_folders(root: Path) -> tuple[str, ...]:
    """Sorted names of the folders in `root` that stand for classes: those of results do not."""
    return tuple(name for name in _folders(root) if not (root / name / NOT_DATA).exists())


def _passed_by(root: Path) -> list[Path]:
    """The folders of results in `root`: what marks them may go."""
    return [root / name for name in _folders(root) if (root / name / NOT_DATA).exists()]


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not _hidden(entry.name))


def from_folder(name: str, root: Path) -> Split:
    """A split of every image below a folder, unlabelled, sorted by path."""
    files, folders = images_below(root, root)
    if not files:
        raise Fault("data-missing", f"{name}: no image ({', '.join(IMAGE_ENDINGS)}) below {root}")
    return Split(name, root, tuple(files), None, (), tuple(folders))


def images_below(root: Path, folder: Path) -> tuple[list[str], list[Path]]:
    """Images below a folder, sorted, as paths from `root`; and the folders that were looked into."""
    files, folders = list[str](), list[Path]()
    for place, names in walk(folder):
        folders.append(place)
        relative = os.path.relpath(place, root)
        start = "" if relative == "." else f"{relative}/"
        files += [start + file for file in names if file.lower().endswith(IMAGE_ENDINGS)]
    return sorted(files), folders


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below a root with its files' names. Links are followed once each, but not to a folder that
    the root lies in, whose other images are none of its own; what is hidden is left out, and so are folders
    of results.
    """
    seen = {(stat.st_dev, stat.st_ino) for stat in map(os.stat, root.resolve().parents)}
    for folder, inner, names in os.walk(root, followlinks=True):
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in seen:  # a link back to where we have been, or above the root
            inner.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        if NOT_DATA in names and folder != os.fspath(root):  # the root itself was asked for
            inner.clear()
            yield Path(folder), []  # looked into: what marks it may go
            continue
        inner[:] = sorted(name for name in inner if not _hidden(name))
        yield Path(folder), sorted(name for name in names if not _hidden(name))


def _hidden(name: str) -> bool:
    """Names that a system or an archiver left: `.x`, among them the `._x.jpg` of macOS, and what Windows
    keeps thumbnails in.
    """
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db")


def require(path: Path, layout: str) -> Path:
    """The path if it exists; otherwise a data-missing fault that says which layout is expected."""
    if not path.exists():
        raise Fault("data-missing", f"{path} is not there; expected layout: {layout}")
    return path
