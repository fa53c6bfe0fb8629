"""Where computed features stand: a folder each, with a manifest; who reads it, how large it is, what may go.

    <home>/<weights>/<digest>/      manifest.json, 1.npy, 2.npy ...; absent or complete
    <home>/<weights>/<digest>.json  values that were computed from features
    <home>/<weights>/locks/         held while they are computed

The manifest says what the arrays are of, and their checksums: one that was cut, edited or hit by a flipped
bit is not believed. Whoever reads a folder holds a shared lock on its manifest, so what is in use is never
removed. No torch here.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.base.lease import lease

Array = np.ndarray[Any, np.dtype[Any]]
MANIFEST = "manifest.json"
LIMIT, LIMIT_GB = "ZOO_FEATURES_GB", 1000.0  # environment variable, and what holds without it


class Writer:
    """An array that grows row by row in its file, in host memory never more than what is appended."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        self.path, self.shape, self.dtype, self.rows = path, shape, np.dtype(dtype), 0
        self._file, self._sum, header = path.open("wb"), hashlib.sha256(), io.BytesIO()
        said = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(header, said)
        self._write(header.getvalue())

    def append(self, rows: Array) -> None:
        """The next rows, (b, *shape[1:]), rounded to the array's dtype."""
        assert rows.shape[1:] == self.shape[1:], (rows.shape, self.shape)
        self.rows += len(rows)
        self._write(np.ascontiguousarray(rows, dtype=self.dtype).tobytes())

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sum.update(data)

    def close(self) -> dict[str, Any]:
        """What the manifest says of the array."""
        assert self.rows == self.shape[0], (self.path, self.rows, self.shape)
        self._file.close()
        files.flush(self.path)
        return {"shape": self.shape, "dtype": str(self.dtype), "sha256": self._sum.hexdigest()}

    def abandon(self) -> None:
        """Closes the file of an array that nobody will read."""
        with suppress(OSError):
            self._file.close()


Create = Callable[[tuple[int, ...], str], Writer]


@contextmanager
def stocked(place: Path, note: Mapping[str, Any]) -> Iterator[Create]:
    """Gives what makes the arrays, in their order, and puts the folder in its place once they are whole.

    note: JSON values for people. Whoever calls holds the lock `lock(place)`. Raises Fault on a full disk.
    """
    aside = place.with_name(f".{place.name}.part")
    made: list[Writer] = []

    def create(shape: tuple[int, ...], dtype: str) -> Writer:
        made.append(Writer(aside / f"{len(made) + 1}.npy", shape, dtype))
        return made[-1]

    with files.explained(place):
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            yield create
            arrays = {writer.path.name: writer.close() for writer in made}
            files.write_text(aside / MANIFEST, json.dumps({"arrays": arrays, **note}, indent=1))
            shutil.rmtree(place, ignore_errors=True)  # one that was not believed
            os.replace(aside, place)
            files.flush(place.parent)
        finally:
            for writer in made:
                writer.abandon()
            shutil.rmtree(aside, ignore_errors=True)


def opened(place: Path, check: bool = True) -> list[Array] | None:
    """The arrays of a folder, memory-mapped and read-only, if all are as they were written; they are in use
    for as long as one of them is. check: whether checksums are compared, which reads every byte.
    """
    handle = _held(place / MANIFEST, fcntl.LOCK_SH)
    if handle is None:
        return None
    try:
        kept = json.loads((place / MANIFEST).read_text(encoding="utf-8"))["arrays"]
        names = [name for name in kept if not check or _checksum(place / name) == kept[name]["sha256"]]
        arrays = [np.load(place / name, mmap_mode="r") for name in kept]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        names, arrays, kept = [], [], {}
    if not arrays or len(names) < len(kept):
        os.close(handle)
        return None
    with suppress(OSError):  # a read-only share: nothing is ever removed there
        os.utime(place / MANIFEST)
    _close_after(arrays, handle)
    return arrays


def _close_after(arrays: list[Array], handle: int) -> None:
    """Closes the manifest, and with it gives up its lock, when nobody maps any of the arrays any more."""
    left = len(arrays)

    def gone() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.close(handle)

    for array in arrays:
        weakref.finalize(array.base, gone)  # the map itself, which every view and tensor keeps alive


def _held(path: Path, kind: int) -> int | None:
    """A handle of the file under a lock of this kind; None where there is none or it is taken."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
        if os.stat(path).st_ino == os.fstat(handle).st_ino:  # not removed before it was locked
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock(place: Path) -> Path:
    """The lock of whoever computes what shall stand at a place."""
    return place.parent / "locks" / f"{place.stem}.lock"


class Kept(NamedTuple):
    """Something that can be removed. path: a folder or a file; bytes: what it takes; used: time of its last
    use, in seconds since 1970; said: what it is, for people.
    """

    path: Path
    bytes: int
    used: float
    said: str


def kept(home: Path) -> list[Kept]:
    """All that stands below a folder of features, the longest unused first."""
    folders = [path.parent for path in home.glob(f"*/*/{MANIFEST}") if path.parent.suffix != ".part"]
    parts = [path for path in home.glob("*/.*.part") if path.is_dir()]
    loose = (*home.glob("*.npy"), *home.glob("*.json"), *home.glob("*/*.json"))
    found = [one for path in (*folders, *parts, *loose) if (one := _kept(path)) is not None]
    return sorted(found, key=lambda one: (one.used, one.path))


def _kept(path: Path) -> Kept | None:
    """None where it went meanwhile."""
    try:
        inside = list(path.iterdir()) if path.is_dir() else [path]
        size = sum(one.stat().st_size for one in inside)
        used = (path / MANIFEST if (path / MANIFEST).exists() else path).stat().st_mtime
    except OSError:
        return None
    return Kept(path, size, used, _said(path))


def _said(path: Path) -> str:
    if path.suffix != "" or not path.is_dir():
        return "features that were not finished" if path.is_dir() else "values computed from features"
    try:
        note = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        shapes = ", ".join("x".join(map(str, one["shape"])) for one in note["arrays"].values())
        return f"features of {note['model']}: {note['what']['kind']}, {shapes}"
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "features without a readable manifest"


def clean(home: Path, limit: int = 0, dry_run: bool = False) -> list[Kept]:
    """Removes the longest unused until the rest takes at most `limit` bytes; gives what was removed.

    What a process reads or computes at this moment stays. dry_run: nothing is removed, only said.
    """
    every = kept(home)
    total, removed = sum(one.bytes for one in every), list[Kept]()
    for one in every:
        if limit and total <= limit:
            break
        if _removed(one.path, dry_run):
            removed.append(one)
            total -= one.bytes
    return removed


def sweep(home: Path) -> None:
    """Removes what writers that were killed have left: halves of folders and files that nobody computes."""
    for left in home.glob("*/.*.part"):
        _removed(left, dry_run=False)


def _removed(path: Path, dry_run: bool) -> bool:
    """Whether nobody is at work on it, so that it went, or could go."""
    # Of digest, digest.json, .digest.part and .digest.json.1.part.
    digest = path.name.removeprefix(".").split(".")[0]
    try:
        with lease(lock(path.with_name(digest)), wait=False):
            handle = _held(path / MANIFEST, fcntl.LOCK_EX) if (path / MANIFEST).is_file() else -1
            if handle is None:
                return False
            if not dry_run:
                _remove(path, path.with_name(f".{digest}.part"))
            if handle >= 0:
                os.close(handle)
    except (Fault, OSError):
        return False
    return True


def _remove(path: Path, aside: Path) -> None:
    """Removes a file, or a folder under the name of what is not finished: killed on the way, it is still
    found, and nothing else would be without its manifest.
    """
    if not path.is_dir():
        path.unlink()
        return
    if path != aside:
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    shutil.rmtree(aside)


def limit() -> int:
    """Bytes that features may take. Raises Fault where the environment names no number of gigabytes."""
    said = os.environ.get(LIMIT, "")
    try:
        gigabytes = float(said) if said else LIMIT_GB
        if not gigabytes > 0:
            raise ValueError(said)
    except ValueError:
        raise Fault(
            "bad-config", f"{LIMIT}: expected gigabytes above 0, got '{said}'; unset it for {LIMIT_GB:g}"
        ) from None
    return int(min(gigabytes, 1e9) * 1e9)
