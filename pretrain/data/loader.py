"""Batches of views: images are decoded and cropped by workers, coloured and normalised on the device.

Labels never travel through a worker: a batch carries sample ids, and whoever needs labels looks them up on
the device. A worker that outlives an epoch therefore cannot deliver the labels of an earlier clustering.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pretrain.base.faults import Fault
from pretrain.data.augment import COLOUR_DRAWS, GEOMETRY_DRAWS, crop, finish, uniforms
from pretrain.data.split import Split
from pretrain.data.view import Input, View

Made = tuple[Tensor, list[Tensor]] | Fault
CACHE_BYTES = 1 << 30  # decoded images below this total are kept in memory: small sets decode once


@dataclass(frozen=True)
class Batch:
    """index int64 (B,): sample ids; views: one fp32 (B, 3, S, S) per view, normalised, on the device."""

    index: Tensor
    views: list[Tensor]


class Images(Dataset[Made]):
    """The images of a split, decoded to RGB; small sets stay in memory after their first use."""

    def __init__(self, split: Split, views: Sequence[View], seed: int) -> None:
        self.split, self.seed = split, seed
        self.views = [view for view in views for _ in range(view.count)]
        first = self._decode(0)
        self.cached = len(split) * first.width * first.height * 3 <= CACHE_BYTES
        self._kept: dict[int, Image.Image] = {}

    def __getitems__(self, keys: list[tuple[int, int]]) -> Made:
        """`made`, or the fault that a bad image is: a worker's
        exceptions reach the parent as text in another type.
        """
        try:
            return self.made(keys)
        except Fault as fault:
            return fault

    def made(self, keys: list[tuple[int, int]]) -> tuple[Tensor, list[Tensor]]:
        """Ids (B,) and per view uint8 (B, S, S, 3) for keys (epoch, id) of one epoch."""
        epoch, ids = keys[0][0], np.array([i for _, i in keys], dtype=np.int64)
        images = [self._image(int(i)) for i in ids]
        pixels = []
        for stream, view in enumerate(self.views):
            u = uniforms(self.seed, epoch, ids, 2 * stream, GEOMETRY_DRAWS)
            out = np.empty((len(ids), view.size, view.size, 3), dtype=np.uint8)
            for row, image in enumerate(images):
                out[row] = crop(image, view, u[row])
            pixels.append(torch.from_numpy(out))
        return torch.from_numpy(ids), pixels

    def __getitem__(self, key: tuple[int, int]) -> Made:
        return self.__getitems__([key])

    def _image(self, i: int) -> Image.Image:
        if not self.cached:
            return self._decode(i)
        if i not in self._kept:
            self._kept[i] = self._decode(i)
        return self._kept[i]

    def _decode(self, i: int) -> Image.Image:
        path = self.split.path(i)
        try:
            with Image.open(path) as file, warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # palette transparency and EXIF remarks: the pixels are what counts
                return file.convert("RGB")
        except FileNotFoundError:
            raise Fault("data-missing", f"{self.split.name}: {path} is listed but not there") from None
        except (OSError, UnidentifiedImageError, SyntaxError) as error:
            said = f"cannot be decoded ({error}); replace the file or take it off the list"
            raise Fault("data-corrupt", f"{self.split.name}: {path} {said}") from None


@dataclass(frozen=True)
class Loader:
    """Turns an order of sample ids into batches on a device."""

    images: Images
    given: Input
    device: torch.device
    workers: int

    def batches(self, order: npt.NDArray[np.int64], batch_size: int, epoch: int) -> Iterator[Batch]:
        """Batches of `order` in its order; the last may be shorter. Raises Fault naming a bad image."""
        keys = [
            [(epoch, int(i)) for i in order[at : at + batch_size]] for at in range(0, len(order), batch_size)
        ]
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
        for made in loader:
            if isinstance(made, Fault):
                raise made
            ids, pixels = made
            yield self._finish(ids, pixels, epoch)

    def _finish(self, ids: Tensor, pixels: list[Tensor], epoch: int) -> Batch:
        views = []
        for stream, (view, x) in enumerate(zip(self.images.views, pixels, strict=True)):
            u = uniforms(self.images.seed, epoch, ids.numpy(), 2 * stream + 1, COLOUR_DRAWS)
            on_device = torch.from_numpy(u).to(self.device, torch.float32, non_blocking=True)
            views.append(finish(x.to(self.device, non_blocking=True), view, on_device, self.given))
        return Batch(ids.to(self.device, non_blocking=True), views)


def open_loader(split: Split, views: Sequence[View], given: Input, seed: int, device: torch.device) -> Loader:
    """A loader over a split: in this process where the decoded
    set fits in memory, by worker processes otherwise.
    """
    images = Images(split, views, seed)
    workers = 0 if images.cached else max(1, min(8, (os.cpu_count() or 1) - 1))
    return Loader(images, given, device, workers)


def _as_is(made: Any) -> Any:
    """`__getitems__` has already made the batch."""
    return made


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
