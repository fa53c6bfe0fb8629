"""Batches of views: images are decoded and cropped by workers, coloured and normalised on the device.

Labels never travel through a worker: a batch carries sample ids, and whoever needs labels looks them up on
the device. A worker that outlives an epoch therefore cannot deliver the labels of an earlier clustering.
"""

from __future__ import annotations

import math
import os
import shutil
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from pretrain.base.faults import Fault
from pretrain.data import workers
from pretrain.data.augment import GEOMETRY_DRAWS, Ints, Samples, crop, in_order, single, uniforms
from pretrain.data.colour import COLOUR_DRAWS, finish, sent
from pretrain.data.image import read, size
from pretrain.data.split import Split
from pretrain.data.view import Input, View
from pretrain.data.workers import Key, Workers

Made = tuple[Samples, list[Tensor]] | Fault
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
        self.image_bytes = sum(3 * view.size**2 for view in self.views)  # of all views of one image
        self.reading = torch.full((workers.MOST,), -1).share_memory_()  # the id that each worker decodes

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
        streams = range(len(self.views))
        draws = [uniforms(self.seed, epoch, samples, 2 * stream, GEOMETRY_DRAWS) for stream in streams]
        pixels = _empty([(len(keys), view.size, view.size, 3) for view in self.views])
        places = [part.numpy() for part in pixels]
        for row, i in enumerate(samples.ids):
            image = self._image(int(i))  # one at a time: photographs are large
            for out, view, u in zip(places, self.views, draws, strict=True):
                out[row] = crop(image, view, u[row])
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


def _empty(shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """uint8 tensors in one piece of memory: each piece that a worker hands over costs an open file."""
    sizes = [math.prod(shape) for shape in shapes]
    parts = torch.empty(sum(sizes), dtype=torch.uint8).split(sizes)
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


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
        keys = [(epoch, int(i), int(n)) for i, n in zip(*samples, strict=True)]
        batches = (self._finish(parts, epoch) for parts in self._parts(keys, batch_size))
        yield from _ahead(batches, self.device) if self.device.type == "cuda" else batches

    def _parts(self, keys: list[Key], batch_size: int) -> Iterator[list[Made]]:
        """What each batch consists of: one part, made here, or several that workers make."""
        batches = [keys[at : at + batch_size] for at in range(0, len(keys), batch_size)]
        if not self.workers:
            yield from ([self.images.__getitems__(batch)] for batch in batches)
            return
        each = workers.images_per_unit(self.images.image_bytes)
        units = [[batch[at : at + each] for at in range(0, len(batch), each)] for batch in batches]
        _AT_WORK.add(self.images)
        made = self._crew.passes([unit for batch in units for unit in batch])
        yield from (list(islice(made, len(batch))) for batch in units)
        next(made, None)  # the pass is over: its workers may take the next

    @cached_property
    def _crew(self) -> Workers[Made]:
        ahead = workers.units_ahead(self.workers, self.images.image_bytes)
        return Workers(self.images, self.workers, ahead, self.device.type == "cuda")

    def _finish(self, parts: list[Made], epoch: int) -> Batch:
        views = []
        good = [_raised(part) for part in parts]
        samples = Samples(*map(np.concatenate, zip(*(part[0] for part in good), strict=True)))
        for stream, view in enumerate(self.images.views):
            u = uniforms(self.images.seed, epoch, samples, 2 * stream + 1, COLOUR_DRAWS)
            pixels = [sent(part[1][stream], self.device) for part in good]
            x = torch.cat(pixels) if len(pixels) > 1 else pixels[0]
            views.append(finish(x, view, single(u), self.given))
        return Batch(sent(torch.from_numpy(samples.ids), self.device), views)


def _raised(made: Made) -> tuple[Samples, list[Tensor]]:
    if isinstance(made, Fault):
        raise made
    return made


def _ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Batches of a CUDA device, each made on a stream of its own while the one before it is in use."""
    side, waiting = torch.cuda.Stream(device), None
    while True:
        with torch.cuda.stream(side):
            batch = next(batches, None)
            ready = side.record_event()
        if waiting is not None:
            yield _handed_over(*waiting, torch.cuda.current_stream(device))
        if batch is None:
            return
        waiting = batch, ready


def _handed_over(batch: Batch, ready: torch.cuda.Event, stream: torch.cuda.Stream) -> Batch:
    """The batch, for use on another stream than the one that made it."""
    stream.wait_event(ready)
    for tensor in (batch.index, *batch.views):
        tensor.record_stream(stream)
    return batch


def open_loader(split: Split, views: Sequence[View], given: Input, seed: int, device: torch.device) -> Loader:
    """A loader over a split: in this process where the decoded
    set fits in memory, by worker processes otherwise.
    """
    images = Images(split, views, seed)
    return Loader(images, given, device, 0 if images.cached else workers.count())


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
