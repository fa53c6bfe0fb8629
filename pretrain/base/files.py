"""Files that are either absent or complete: written aside, flushed to disk, renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pretrain.base.faults import Fault


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Calls save(temporary path), flushes, renames to `path`.
    Raises Fault on a full disk or missing rights.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            save(aside)
            _flush(aside)
            os.replace(aside, path)
            _flush(path.parent)
        finally:
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """The text as UTF-8, absent or complete."""
    write(path, lambda aside: aside.write_text(text, encoding="utf-8"))


FULL = (errno.ENOSPC, errno.EDQUOT)


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
        where = error.filename or path
        raise Fault("bad-config", f"cannot write {where}: {why}; choose another folder with --out") from error


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
