"""Files that are either absent or complete: written aside, flushed to disk, renamed."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pretrain.faults import Fault


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Calls save(temporary path), flushes, renames to `path`. Raises Fault on a full disk or missing rights."""
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


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns 'disk full' and 'no right to write' into faults that say where and what to do."""
    try:
        yield
    except PermissionError as error:
        where = error.filename or path
        raise Fault("bad-config", f"no permission to write {where}; choose another folder with --out") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(_existing(path)).free // 2**20
        raise Fault("disk-full", f"no space to write {path} ({free} MiB free); free some and run again") from error


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def lease(path: Path, rank: int = 0) -> Iterator[None]:
    """Holds a folder for this process (rank 0 speaks for its group). Raises Fault if a living process holds it.

    The file names process and host; one whose process has ended is taken over.
    """
    if rank > 0:
        yield
        return
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _take(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _take(path: Path) -> None:
    mine = f"{os.getpid()} {socket.gethostname()}"
    try:
        with path.open("x") as file:
            file.write(mine)
    except FileExistsError:
        pid, _, host = path.read_text().partition(" ")
        if host != socket.gethostname() or _alive(pid):
            said = f"process {pid} on {host} is working on it; wait for it, or delete {path} if it is gone"
            raise Fault("bad-config", f"{path.parent}: {said}") from None
        path.unlink(missing_ok=True)
        _take(path)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
