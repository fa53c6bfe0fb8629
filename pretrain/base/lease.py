"""A folder held by one process at a time: a lock of the operating system's, which goes with the process."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pretrain.base import files
from pretrain.base.faults import Fault

POLL_SECONDS = 0.5


@contextmanager
def lease(
    path: Path,
    wait: bool = True,
    waiting: Callable[[str], None] = lambda holder: None,
    meanwhile: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Holds the lock file `path` for as long as the block lasts.

    Where another process holds it, `waiting` is told who ("process 17 on host"), and this one waits, with a
    call of `meanwhile` now and then, or raises Fault without `wait`. The lock is the kernel's: a process that
    dies in any way, on any host, no longer holds it. The note of who holds it is for people alone.
    """
    with files.explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_locks(path)
    lock, holder = FileLock(path, timeout=0), path.with_suffix(".holder")
    with files.explained(path):
        try:
            lock.acquire()
        except Timeout:
            who = _holder(holder)
            if not wait:
                said = f"{who} is working on it; wait for it, or leave out --no-wait to wait here"
                raise Fault("busy", f"{path.stem}: {said}") from None
            waiting(who)
            _wait(lock, meanwhile)
    try:
        with suppress(OSError):  # a full disk: the lock holds without the note
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _require_locks(path: Path) -> None:
    """Raises Fault where the file system has no locks of the kernel's. filelock would take a file's presence
    for one, which stays when its process is killed.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_UN)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        said = f"{path.parent}: this file system has no locks ({error.strerror}), without which two commands "
        said += (
            "write over each other; mount it with them (Lustre: -o flock), or choose another place (--out)"
        )
        raise Fault("bad-config", said) from None
    finally:
        os.close(handle)


def _wait(lock: FileLock, meanwhile: Callable[[], object]) -> None:
    while not lock.is_locked:
        meanwhile()
        time.sleep(POLL_SECONDS)
        with suppress(Timeout):
            lock.acquire(timeout=0)


def _holder(path: Path) -> str:
    try:
        return path.read_text()[:200] or "another process"
    except OSError:
        return "another process"
