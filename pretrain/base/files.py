"""Files that are either absent or complete: written aside, flushed to disk, renamed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pretrain.base.faults import Fault

BLOCK = 1 << 20  # bytes read at a time


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Calls save(temporary path), flushes, renames to `path`.
    Whoever may read the file still may; a new one is as the umask says. Raises Fault on a full disk or
    missing rights.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")  # containers share process ids
        try:
            with _full_disk(path):
                aside.touch()
                mode = (path if path.exists() else aside).stat().st_mode
                save(aside)
            if aside.stat().st_mode != mode:  # safetensors' writer keeps a file to its owner
                aside.chmod(stat.S_IMODE(mode))
            flush(aside)
            os.replace(aside, path)
            flush(path.parent)
        finally:
            with suppress(OSError):
                os.truncate(aside, 0)  # what still holds a half-written file open shall not hold its space
            aside.unlink(missing_ok=True)


NOT_DATA = ".not-data"


def for_results(folder: Path) -> None:
    """Makes a folder and says in it that its images are of results: whoever looks for data passes it by."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NOT_DATA).touch()


def write_text(path: Path, text: str) -> None:
    """The text as UTF-8, absent or complete."""
    write(path, lambda aside: aside.write_text(text, encoding="utf-8"))


FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def _full_disk(path: Path) -> Iterator[None]:
    """Libraries say a full disk in words of their own, without its number: whether it is full is tried out.

    While the half-written file is still there, for its space is free again when it goes.
    """
    try:
        yield
    except Exception as error:
        if os.strerror(errno.ENOSPC) in str(error) or not _takes(path.parent):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def _takes(folder: Path, size: int = 1 << 16) -> bool:
    """Whether a folder has room for a few more bytes."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".room.") as probe:
            probe.write(bytes(size))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return error.errno not in FULL
    return True


def sweep(folder: Path) -> None:
    """Removes what writers that were killed have left below a folder, for whoever holds its lock."""
    for left in folder.rglob(".*.part"):
        if left.is_file():
            left.unlink(missing_ok=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what keeps a file from being written into faults that say where and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            free = shutil.disk_usage(_existing(path)).free // 2**20
            said = f"no space to write {path} ({free} MiB free); free some and run again"
            raise Fault("disk-full", said) from error
        why = "no permission" if isinstance(error, PermissionError) else error.strerror or str(error)
        where = path if str(error.filename or "").endswith(".part") else error.filename or path
        said = f"cannot write {where}: {why}; make that possible or choose another place (--out)"
        raise Fault("bad-config", said) from error


def homely(text: str, instead: str) -> Path:
    """The path of `~/x`. Raises Fault where the user has no home folder, as in a container that runs as a
    number; instead: what else may be done.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise Fault("bad-config", f"{text}: this user has no home folder; set HOME, or {instead}") from None


def require_text(path: Path) -> None:
    """Raises Fault where a path is no UTF-8: safetensors writes weights there and cannot read them."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        said = f"{path}: this name is no UTF-8, and weights could not be read there"
        raise Fault("bad-config", f"{said}; rename it, or choose another place (--out)") from None


def whole(path: Path) -> None:
    """Raises BadZipFile, OSError or ValueError where a member of what torch.save wrote differs from its
    checksum: torch does not look. It can leave checksums out; they are 0 then.
    """
    with zipfile.ZipFile(path) as archive:
        for one in archive.infolist():
            if one.CRC:
                with archive.open(one) as member:
                    while member.read(BLOCK):
                        pass


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def flush(path: Path) -> None:
    """Returns when a file, or the names in a folder, have reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
