"""Fingerprints of data: what a split or a data set holds, by content, and a memory of it on disk.

A fingerprint covers which files belong (by relative path), their labels, every list and annotation file as a
whole, and the contents of the images: of all, or of an even sample where there are more than `SAMPLE_ABOVE`.
Contents are hashed once. After that the stat of a file (inode, size, times of its last changes) stands for
its content, and the stats of folders and lists for which files belong: a second look lists nothing and reads
nothing. An image in a shard counts as the file that it would be, with the stat of its shard: packing changes
no fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain.base import files, identity
from pretrain.base.faults import Fault
from pretrain.data.split import Place, Split

SAMPLE_ABOVE = 20_000  # images; reading ImageNet whole takes a quarter of an hour
SAMPLE = 4_096
READERS = 8  # threads; hashing releases the interpreter

TICK_NS = 20_000_000  # by which the time of a file's change may lag behind the clock

Stat = list[int]


@dataclass(frozen=True)
class DataIdentity:
    """What a key needs of data. fingerprint: 16 hex digits; hashed: images whose contents it covers; names:
    digest of the names of the classes and whether a list numbers them, '' where that was not kept yet.
    left_out: the lines of a suite's `exclude` that name images of it.
    """

    fingerprint: str
    images: int
    classes: int
    hashed: int
    names: str = ""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inventory:
    """A data set on disk. sources: folders and list files whose stats tell that nothing was added or removed;

    texts: files hashed whole; images: hashed by content; more: what else decides, such as labels, hashed
    already; places: where the bytes of each image are, if not in files of their own; names, left_out: as
    of a DataIdentity; total: of how many the images are the sample already (0: they are all).
    """

    name: str
    root: Path
    sources: Sequence[Path]
    texts: Sequence[Path]
    images: Sequence[Path]
    classes: int
    more: str = ""
    places: Sequence[Place] = ()
    names: str = ""
    left_out: tuple[str, ...] = ()
    total: int = 0


def of_split(split: Split) -> Inventory:
    """What a split consists of."""
    labels = b"" if split.labels is None else split.labels.tobytes()
    # Any bytes can be a name on Linux; those that are no UTF-8 stand as themselves.
    names = "\n".join((*split.files, "", *split.classes)).encode(errors="surrogateescape")
    more = hashlib.sha256(names + labels).hexdigest()
    rows = _sampled(len(split))  # paths of 1.28 million images would be 0.4 GB
    images = [split.path(i) for i in rows]
    places = [split.place(i) for i in rows] if split.packed else ()
    said = identity.digest(("by number", *split.classes) if split.numbered else split.classes)
    classes = len(split.classes)
    out, total = split.left_out, len(split)
    return Inventory(
        split.name, split.root, split.sources, (), images, classes, more, places, said, out, total
    )


def _sampled(images: int) -> Sequence[int]:
    """Which of that many images are hashed: all, or an even sample."""
    if images <= SAMPLE_ABOVE:
        return range(images)
    return [i * (images - 1) // (SAMPLE - 1) for i in range(SAMPLE)]


class Fingerprints:
    """Fingerprints, remembered in a folder (or not at all, where it cannot be written)."""

    def __init__(self, memory: Path) -> None:
        self.memory = memory
        self._contents = dict[str, list[str]]()

    def of(self, key: str, take: Callable[[], Inventory]) -> DataIdentity:
        """The identity of the data under `key`; `take` lists it,
        and is called only if something has changed.
        """
        path = self.memory / f"{identity.digest(key)}.json"
        known = _read(path)
        if known and (files_ := known["stats"]) and _stats(list(files_)) == list(files_.values()):
            self._contents[key] = _shas(known["contents"])
            return _identity(known)
        began = time.time_ns()
        inventory = take()
        found, stats, contents = _hashed(inventory, known["contents"] if known else {})
        self._contents[key] = _shas(contents)
        latest = max((one for path in inventory.sources for one in stats[str(path)][2:]), default=0)
        if latest > began - TICK_NS:  # perhaps after it was listed: the next look lists again
            stats = {}
        body = {"data": key, "identity": vars(found), "stats": stats, "contents": contents}
        with suppress(Fault, OSError):  # a read-only folder: the next command hashes again
            files.write_text(path, json.dumps({**body, "digest": identity.digest(body)}))
        return found

    def now(self, key: str, inventory: Inventory) -> str:
        """The fingerprint of an inventory as its files are at this moment, whatever else lies beside them by
        now. What is remembered under `key` spares reading those that were not changed, and is forgotten where
        it says otherwise: another version of the reader may have listed other images.
        """
        path = self.memory / f"{identity.digest(key)}.json"
        known = _read(path)
        found = _hashed(inventory, known["contents"] if known else {})[0].fingerprint
        if known and known["identity"]["fingerprint"] != found:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        return found

    def contents(self, key: str) -> list[str]:
        """Digests of the contents of the files under `key`, one of each file, as they were when `of` was last
        asked.
        """
        return self._contents.get(key, [])


def _hashed(
    inventory: Inventory, known: dict[str, Any]
) -> tuple[DataIdentity, dict[str, Stat], dict[str, Any]]:
    """Identity of an inventory, stats of all that it rests on, and content hashes by path."""
    rows = _sampled(len(inventory.images))
    images = [inventory.images[i] for i in rows]
    places = [inventory.places[i] for i in rows] if inventory.places else [Place(path) for path in images]
    at = {str(path): Place(path) for path in inventory.texts} | dict(
        zip(map(str, images), places, strict=True)
    )
    paths = [str(path) for path in (*inventory.texts, *images)]
    files_ = list(dict.fromkeys([*map(str, inventory.sources), *(str(at[path].path) for path in paths)]))
    stats = dict(zip(files_, _stats(files_), strict=True))
    states = {path: stats[str(at[path].path)] for path in paths}
    missing = [path for path in paths if not states[path]]
    if missing:
        said = f"{len(missing)} of the files that {inventory.name} names are not there, first {missing[0]}"
        raise Fault("data-missing", f"{said}; restore the files or the list")
    contents = {path: known[path] for path in paths if path in known and known[path][0] == states[path]}
    new = [path for path in paths if path not in contents]
    with ThreadPoolExecutor(READERS) as pool:
        shas = pool.map(_sha, [at[path] for path in new])
        contents |= {path: [states[path], sha] for path, sha in zip(new, shas, strict=True)}
    relative = [[os.path.relpath(path, inventory.root), contents[path][1]] for path in paths]
    total = inventory.total or len(inventory.images)
    fingerprint = identity.digest([inventory.more, total, relative])
    counts = (total, inventory.classes, len(images))
    return DataIdentity(fingerprint, *counts, inventory.names, inventory.left_out), stats, contents


def _shas(contents: dict[str, Any]) -> list[str]:
    return [sha for _, sha in contents.values()]


def _stats(paths: Sequence[str]) -> list[Stat]:
    return [state(path) for path in paths]


def state(path: str) -> Stat:
    """What tells that a file or folder was not changed; empty where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _sha(place: Place) -> str:
    try:
        if place.length >= 0:
            return identity.shortened(hashlib.sha256(place.content()))
        with place.path.open("rb") as file:
            return identity.shortened(hashlib.file_digest(file, "sha256"))
    except OSError as error:
        raise Fault("data-corrupt", f"{place.path} cannot be read: {error.strerror}") from None


def _identity(body: dict[str, Any]) -> DataIdentity:
    said = body["identity"]
    return DataIdentity(**{**said, "left_out": tuple(said.get("left_out", ()))})


def _read(path: Path) -> dict[str, Any] | None:
    """What is remembered; None where nothing is, or it is damaged."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body.pop("digest") != identity.digest(body):  # a flipped bit
            return None
        _identity(body)
        return {
            "stats": dict(body["stats"]),
            "contents": dict(body["contents"]),
            "identity": body["identity"],
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None
