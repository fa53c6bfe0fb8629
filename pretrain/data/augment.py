"""The first half of a view: its random numbers, and its geometry, image by image with PIL.

Every random number comes from `uniforms(seed, epoch, sample, stream)`: a view depends on neither rank,
worker nor batch, so a resumed run and a run with another world size see the same views. A sample is an id
and its occurrence in the epoch: an image that is drawn twice is seen in two views. B batch, S side in px.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from pretrain.data.view import Input, View

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
GEOMETRY_DRAWS = 24  # 10 tries of (area, aspect), then the place of the crop
BILINEAR = Image.Resampling.BILINEAR


class Samples(NamedTuple):
    """ids int64 (B,); occurrence int64 (B,): how often each id came before in the epoch's order."""

    ids: Ints
    occurrence: Ints


def in_order(order: Ints) -> Samples:
    """The samples of an epoch's whole order, over all processes."""
    place = order.argsort(kind="stable")
    run = np.arange(len(order))
    first = np.searchsorted(order[place], order[place], side="left")
    occurrence = np.empty(len(order), dtype=np.int64)
    occurrence[place] = run - first
    return Samples(order, occurrence)


def uniforms(seed: int, epoch: int, samples: Samples, stream: int, draws: int) -> Floats:
    """float64 (B, draws) in [0, 1): a pure function of its
    arguments (SplitMix64 finaliser over a counter).
    """
    with np.errstate(over="ignore"):
        start = _mix(_mix(_mix(_u64(seed)) + _u64(epoch)) + _u64(stream))
        again = samples.occurrence.astype(np.uint64) * np.uint64(
            0xD1342543DE82EF95
        )  # any odd number far from the step's
        row = _mix(start + samples.ids.astype(np.uint64)) + again
        counter = row[:, None] + np.arange(1, draws + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return np.asarray((_mix(counter) >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def single(u: Floats) -> Tensor:
    """The draws as fp32, still below 1: rounded, one of 2^25 would be 1, and log(1 - u) infinite."""
    return torch.from_numpy(np.minimum(u, 1 - 2.0**-24)).float()


def _u64(value: int) -> npt.NDArray[np.uint64]:
    return np.array([value & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)


def _mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def crop(image: Image.Image, view: View, u: Floats) -> npt.NDArray[np.uint8]:
    """uint8 (S, S, 3): one image through the view's geometry, with its row of GEOMETRY_DRAWS uniforms."""
    side = (view.size, view.size)
    if view.geometry == "random-resized":
        box = random_resized_box(image.width, image.height, view.scale, u)
        return np.asarray(image.resize(side, BILINEAR, box=box))
    if view.geometry == "warp":
        short = _short_side(image, view.resize) if view.resize else image
        return np.asarray(short.resize(side, BILINEAR))
    image = _centre(_short_side(image, view.resize), view.size if view.geometry == "center" else view.resize)
    if view.geometry == "random-crop":
        x, y = (int(u[i] * (view.resize - view.size + 1)) for i in (0, 1))
        image = image.crop((x, y, x + view.size, y + view.size))
    return np.asarray(image)


def random_resized_box(w: int, h: int, scale: tuple[float, float], u: Floats) -> tuple[int, int, int, int]:
    """Box (left, top, right, bottom) in px: area share uniform in `scale`, log-uniform aspect in 3/4 to 4/3.

    Ten tries, then the largest centred box of an allowed aspect, as torchvision's RandomResizedCrop.
    """
    for t in range(10):
        area = w * h * (scale[0] + u[2 * t] * (scale[1] - scale[0]))
        ratio = math.exp(math.log(3 / 4) + u[2 * t + 1] * (math.log(4 / 3) - math.log(3 / 4)))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= w and 0 < height <= h:
            left, top = int(u[20] * (w - width + 1)), int(u[21] * (h - height + 1))
            return left, top, left + width, top + height
    width, height = min(w, round(h * 4 / 3)), min(h, round(w * 4 / 3))
    left, top = (w - width) // 2, (h - height) // 2
    return left, top, left + width, top + height


def _short_side(image: Image.Image, size: int) -> Image.Image:
    w, h = image.size
    if min(w, h) == size:
        return image
    target = (size, int(size * h / w)) if w < h else (int(size * w / h), size)
    return image.resize(target, BILINEAR)


def _centre(image: Image.Image, size: int) -> Image.Image:
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def normalise(x: Tensor, given: Input) -> Tensor:
    """(x - mean) / std per channel of pixels in [0, 1]."""
    mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (given.mean, given.std))
    return (x - mean) / std
