"""Processes that decode and crop: how many, how much at a time, kept from one epoch to the next.

A unit is what a worker makes in one go: part of a batch, so that all of them work on the first batch at once
and what is under way stays within BYTES_UNDER_WAY whatever the batch size and the size of the views.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from pretrain.base import cores

Made = TypeVar("Made")
Key = tuple[int, int, int]  # epoch, sample id, its occurrence in the epoch
MOST = 64  # processes of one loader
UNIT = 32  # images, at most
UNIT_BYTES = 16 << 20  # of their views; an image that is larger alone is a unit of its own
AHEAD = 4  # units that wait for each worker, at most
BYTES_UNDER_WAY = 1 << 30  # of views in shared memory, per process that trains


def count() -> int:
    """Workers for this process: its share of the cores that may be used, less the one that trains."""
    ranks = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return max(1, min(MOST, cores.usable() // ranks - 1))


def images_per_unit(image_bytes: int) -> int:
    """How many images a worker takes at a time, where the views of one have so many bytes."""
    return max(1, min(UNIT, UNIT_BYTES // image_bytes))


def units_ahead(workers: int, image_bytes: int) -> int:
    """How many units each worker may have under way, the one that it works on included."""
    room = BYTES_UNDER_WAY
    if os.path.isdir("/dev/shm"):
        room = min(room, shutil.disk_usage("/dev/shm").free // 2)
    return max(1, min(AHEAD, room // (workers * images_per_unit(image_bytes) * image_bytes)))


class _Keys:
    """The keys of one pass, replaced before each: a DataLoader asks for them anew."""

    def __init__(self) -> None:
        self.units: Sequence[list[Key]] = ()

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.units)


class Workers(Generic[Made]):
    """Processes over a data set whose `__getitems__` makes a unit; started by the first pass, then kept."""

    def __init__(self, images: Dataset[Made], number: int, ahead: int, pin: bool) -> None:
        self.images, self.number, self.ahead, self.pin = images, number, ahead, pin
        self._kept: tuple[DataLoader[Made], _Keys] | None = None

    def passes(self, units: Sequence[list[Key]]) -> Iterator[Made]:
        """What becomes of the units, in their order. A pass that is left early leaves nothing behind; two at
        the same time have processes of their own.
        """
        loader, keys = self._kept or self._started()
        self._kept, keys.units = None, units
        try:
            yield from loader
        except GeneratorExit:
            self._kept = loader, keys
            raise
        self._kept = loader, keys  # after a fault they are not kept

    def _started(self) -> tuple[DataLoader[Made], _Keys]:
        keys = _Keys()
        loader: DataLoader[Made] = DataLoader(
            self.images,
            batch_sampler=keys,
            num_workers=self.number,
            collate_fn=_as_is,
            pin_memory=self.pin,
            worker_init_fn=_one_thread,
            prefetch_factor=self.ahead,
            persistent_workers=True,
            generator=torch.Generator(),  # else each pass would move the global random state, unlike a resumed one
        )
        return loader, keys


def _as_is(made: Any) -> Any:
    """`__getitems__` has already made the unit."""
    return made


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
