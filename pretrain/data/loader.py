"""Batches of views: images are decoded and cropped by workers, coloured and normalised on the device.

Labels never travel through a worker: a batch carries sample ids, and whoever needs labels looks them up on
the device. A worker that outlives an epoch therefore cannot deliver the labels of an earlier clustering.
"""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from pretrain.base.faults import Fault
from pretrain.data.augment import (
    COLOUR_DRAWS,
    GEOMETRY_DRAWS,
    Ints,
    Samples,
    crop,
    finish,
    in_order,
    single,
    uniforms,
)
from pretrain.data.image import read, size
from pretrain.data.split import Split
from pretrain.data.view import Input, View

Key = tuple[int, int, int]  # epoch, sample id, its occurrence in the epoch
Made = tuple[Samples, list[Tensor]] | Fault
WORKERS = 8  # processes that decode, at most
SAMPLE = 64  # images whose headers tell how large a set is
CACHE_BYTES = 1 << 30  # decoded images below this total are kept in memory: small sets decode once


@dataclass(frozen=True)
class Batch:
    """index int64 (B,): sample ids; views: one fp32 (B, 3, S, S) per view, normalised, on the device."""

    index: Tensor
    views: list[Tensor]


_AT_WORK: weakref.WeakSet[Images] = weakref.WeakSet()  # whose workers run


class Images(Dataset[Made]):
    """The images of a split, decoded to RGB; small sets stay in memory after their first use."""

    def __init__(self, split: Split, views: Sequence[View], seed: int) -> None:
        self.split, self.seed = split, seed
        self.views = [view for view in views for _ in range(view.count)]
        self.cached = expected_bytes(split) <= CACHE_BYTES
        self._kept: dict[int, Image.Image] = {}
        self.held = 0  # bytes of the images that are kept
        self.reading = torch.full((WORKERS,), -1).share_memory_()  # the id that each worker decodes

    def __getitems__(self, keys: list[Key]) -> Made:
        """`made`, or the fault that a bad image is: a worker's
        exceptions reach the parent as text in another type.
        """
        try:
            return self.made(keys)
        except Fault as fault:
            return fault

    def made(self, keys: list[Key]) -> tuple[Samples, list[Tensor]]:
        """The samples (B,) and per view uint8 (B, S, S, 3) for keys of one epoch."""
        epoch, samples = keys[0][0], Samples(*np.array([key[1:] for key in keys], dtype=np.int64).T)
        images = [self._image(int(i)) for i in samples.ids]
        pixels = []
        for stream, view in enumerate(self.views):
            u = uniforms(self.seed, epoch, samples, 2 * stream, GEOMETRY_DRAWS)
            out = np.empty((len(images), view.size, view.size, 3), dtype=np.uint8)
            for row, image in enumerate(images):
                out[row] = crop(image, view, u[row])
            pixels.append(torch.from_numpy(out))
        return samples, pixels

    def __getitem__(self, key: Key) -> Made:
        return self.__getitems__([key])

    def _image(self, i: int) -> Image.Image:
        if i in self._kept:
            return self._kept[i]
        if (worker := get_worker_info()) is not None:
            self.reading[worker.id] = i
        image = read(self.split, i)
        size = image.width * image.height * 3
        if self.cached and self.held + size <= CACHE_BYTES:  # what was expected may have been too little
            self._kept[i] = image
            self.held += size
        return image


@dataclass(frozen=True)
class Loader:
    """Turns an order of sample ids into batches on a device."""

    images: Images
    given: Input
    device: torch.device
    workers: int

    def batches(self, order: Ints | Samples, batch_size: int, epoch: int) -> Iterator[Batch]:
        """Batches of `order` in its order; the last may be shorter. Raises Fault naming a bad image.

        order: ids of an epoch, or the samples that are one process's part of it.
        """
        samples = order if isinstance(order, Samples) else in_order(order)
        each = [(epoch, int(i), int(n)) for i, n in zip(*samples, strict=True)]
        keys = [each[at : at + batch_size] for at in range(0, len(each), batch_size)]
        loader: DataLoader[Made] = DataLoader(
            self.images,
            batch_sampler=keys,
            num_workers=self.workers,
            collate_fn=_as_is,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_one_thread,
            prefetch_factor=4 if self.workers else None,
            generator=torch.Generator(),  # else each pass would move the global random state, unlike a resumed one
        )
        if self.workers:
            _AT_WORK.add(self.images)
        for made in loader:
            if isinstance(made, Fault):
                raise made
            samples, pixels = made
            yield self._finish(samples, pixels, epoch)

    def _finish(self, samples: Samples, pixels: list[Tensor], epoch: int) -> Batch:
        views = []
        for stream, (view, x) in enumerate(zip(self.images.views, pixels, strict=True)):
            u = uniforms(self.images.seed, epoch, samples, 2 * stream + 1, COLOUR_DRAWS)
            on_device = single(u).to(self.device, non_blocking=True)
            views.append(finish(x.to(self.device, non_blocking=True), view, on_device, self.given))
        return Batch(torch.from_numpy(samples.ids).to(self.device, non_blocking=True), views)


def open_loader(split: Split, views: Sequence[View], given: Input, seed: int, device: torch.device) -> Loader:
    """A loader over a split: in this process where the decoded
    set fits in memory, by worker processes otherwise.
    """
    images = Images(split, views, seed)
    workers = 0 if images.cached else max(1, min(WORKERS, (os.cpu_count() or 1) - 1))
    return Loader(images, given, device, workers)


def worker_killed(error: Exception) -> Fault | None:
    """The fault that an exception is, if torch raised it because a worker of a loader was killed.

    torch raises it in whatever the main thread does at that moment, so nobody can catch it at its place.
    """
    broken = isinstance(error, (ConnectionError, EOFError)) and len(_AT_WORK) > 0  # in the middle of a batch
    if not broken and not str(error).startswith("DataLoader worker"):
        return None
    reading = [str(images.split.path(i)) for images in _AT_WORK for i in images.reading.tolist() if i >= 0]
    room = shutil.disk_usage("/dev/shm").free >> 20 if os.path.isdir("/dev/shm") else 0
    how = "a DataLoader worker is gone" if broken else str(error).strip().splitlines()[0].rstrip(". ")
    said = f"{how}, while workers read {', '.join(reading) or 'nothing yet'}"
    advice = f"see whether memory or /dev/shm ({room} MiB free; a container's is set by --shm-size) ran out"
    return Fault("worker-crash", f"{said}; {advice}, else look at these images with `zoo check-data`")


def expected_bytes(split: Split) -> int:
    """Size of a split's images as RGB, from the headers of an even sample. Raises Fault on an empty one."""
    if not len(split):
        raise Fault("data-missing", f"{split.name} holds no image below {split.root}")
    sample = sorted({i * (len(split) - 1) // (SAMPLE - 1) for i in range(SAMPLE)})
    pixels = list[int]()
    for i in sample:
        with suppress(Fault):  # whoever reads the image itself says what is wrong with it
            width, height = size(split, i)
            pixels.append(width * height)
    return len(split) * 3 * sum(pixels) // max(1, len(pixels))


def _as_is(made: Any) -> Any:
    """`__getitems__` has already made the batch."""
    return made


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
