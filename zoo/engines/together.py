"""A job's lock for all processes that torchrun or srun started."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pretrain.base import dist
from pretrain.base import lease as alone


@contextmanager
def lease(lock: Path, wait: bool, waiting: Callable[[str], None]) -> Iterator[None]:
    """`pretrain.base.lease.lease`, which the first process holds for all. It tells the others of every moment
    that it waits: processes that hear nothing for minutes take each other for dead.
    """
    if dist.rank() > 0:
        while not dist.agreed(True):
            pass
        yield
        return
    with alone.lease(lock, wait, waiting, meanwhile=lambda: dist.agreed(False)):
        dist.agreed(True)
        yield
