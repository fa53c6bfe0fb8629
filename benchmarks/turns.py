"""How processes share a benchmark: whole batches, or whole pieces of work, in turn.

Nothing is cut in two, so every kernel sees what it sees on one process, and their number moves no bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as tdist
from torch import Tensor

from pretrain.base import dist, watch
from pretrain.data.augment import Ints

P = TypeVar("P")
T = TypeVar("T")
PATIENCE = timedelta(days=60)  # for a process that computes alone; one that is silent is ended by the watch


def my_batches(order: Ints, size: int) -> Ints:
    """The ids of this process's batches, one after the other: of W processes, number r has batches r, r + W,
    ...
    """
    turns = range(dist.rank() * size, len(order), dist.world_size() * size)
    return np.concatenate([order[:0], *(order[at : at + size] for at in turns)])


def every_batch(
    mine: Iterator[list[Tensor]], none: list[Tensor], n: int, size: int
) -> Iterator[list[Tensor]]:
    """The tensors (b, ...) of every batch of n samples, in their order, on every process.

    mine: those of this process's batches; none: the same of no sample, (0, ...), whose strides all get.
    """
    round_ = size * dist.world_size()
    for first in range(0, n, round_):
        sizes = [min(size, n - at) for at in range(first, min(n, first + round_), size)]
        rows = [_gathered(x, like) for x, like in zip(next(mine, none), none, strict=True)]
        yield from (list(parts) for parts in zip(*(x.split(sizes) for x in rows), strict=True))
    assert next(mine, None) is None, "a loader has more batches than there are"


def _gathered(x: Tensor, like: Tensor) -> Tensor:
    """Rows of all processes, in the strides of `like`: some kernels add in the order of the memory."""
    if dist.world_size() == 1:
        return x
    width, strides = math.prod(like.shape[1:]), like.stride()
    held = torch.empty_strided(x.shape, strides, dtype=x.dtype, device=x.device).copy_(x)
    rows = dist.all_gather_rows(held.as_strided((len(x), width), (width, 1)))
    return rows.as_strided((len(rows), *like.shape[1:]), strides)


def shared_out(pieces: Sequence[P], compute: Callable[[list[P]], list[T]]) -> list[T]:
    """What `compute` makes of every piece, in their order, on every process.

    Of W processes, number r computes pieces r, r + W, ..., all in one call, in which it must not talk to the
    others. What is made is pickled. Whoever is done waits for the others for as long as they compute.
    """
    world = dist.world_size()
    with _patience() as gather:
        mine = list(pieces[dist.rank() :: world])
        every = gather(compute(mine) if mine else [])
    return [every[at % world][at // world] for at in range(len(pieces))]


@contextmanager
def _patience() -> Iterator[Callable[[Any], list[Any]]]:
    """Gathers an object of every process, without the time limit of other collectives; gloo, as it is small.

    The group is made before anybody begins to compute, for that has a time limit, too.
    """
    if dist.world_size() == 1:
        yield lambda own: [own]
        return
    group = tdist.new_group(timeout=PATIENCE, backend="gloo")
    assert isinstance(group, tdist.ProcessGroup), "every process is a member"

    def gather(own: Any) -> list[Any]:
        every: list[Any] = [None] * dist.world_size()
        watch.went_on()
        tdist.all_gather_object(every, own, group=group)
        return every

    try:
        yield gather
    finally:
        tdist.destroy_process_group(group)
