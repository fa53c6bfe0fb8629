"""A job's lock for all processes that torchrun or srun started."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pretrain.base import dist
from pretrain.base import lease as alone
from pretrain.base.faults import Fault


@contextmanager
def lease(lock: Path, wait: bool, waiting: Callable[[str], None]) -> Iterator[None]:
    """`pretrain.base.lease.lease`, which the first process holds for all. It tells the others of every moment
    that it waits: processes that hear nothing for minutes take each other for dead. Where it cannot have it,
    all raise its Fault.
    """
    if dist.rank() > 0:
        while (word := _of_first(False)) is False:
            pass
        if isinstance(word, Fault):
            raise word
        yield
        return
    with ExitStack() as held:
        try:
            held.enter_context(alone.lease(lock, wait, waiting, meanwhile=lambda: _of_first(False)))
        except Fault as fault:
            _of_first(fault)
            raise
        _of_first(True)
        yield


def _of_first(word: bool | Fault) -> bool | Fault:
    """What the first process says, on every process."""
    return dist.gather_object(word)[0]
