"""The second half of a view, on batches of tensors: flip, rotation, colour, blur, normalisation.

What happens to which image is planned on the host, where the random numbers are: a device gets two small
tensors (rows, numbers), waits for nothing, and computes nothing that no image asked for. On a CPU the batch
goes through in blocks that stay in its cache. B batch, S side in px; x fp32 (B, 3, S, S) in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.base.numerics import exact
from pretrain.data.view import Input, View

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
COLOUR_DRAWS = 40
BLOCK_BYTES = 1 << 20  # of fp32 pixels that a CPU works on at a time: what its second cache holds

# AlexNet's PCA lighting noise on RGB in [0, 1]: eigenvalues and eigenvectors (rows R, G, B) of ImageNet
# colours.
LIGHTING_VALUES = (0.2175, 0.0188, 0.0045)
LIGHTING_VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
GRAY = (0.299, 0.587, 0.114)  # ITU-R 601 luma, as PIL's convert("L")
LEAST = 1e-10  # weights of a blur below it are left out: far less than a pixel's rounding


class Change(NamedTuple):
    """apply(x, numbers) changes images in place; rows: which of a batch, rising; numbers (R, ...)."""

    apply: Callable[[Tensor, Tensor], object]
    rows: Ints
    numbers: Tensor


def finish(pixels: Tensor, view: View, u: Tensor, given: Input) -> Tensor:
    """Normalised views (B, 3, S, S) fp32, channels last, from uint8 pixels (B, S, S, 3) on their device.

    u: fp32 (B, COLOUR_DRAWS) on the host. Order as in the papers: flip, rotation, colour jitter (the four in
    random order per image), gray, blur, solarisation, lighting; in fp32 whatever
    the network that asks for them is computed in.
    """
    out = torch.empty(pixels.shape, device=pixels.device)
    flipped, changes = _rows(u[:, 0] < view.flip), list(planned(view, u))
    b = len(pixels)
    each = max(1, BLOCK_BYTES // (12 * view.size**2)) if pixels.device.type == "cpu" else b
    for at in range(0, b, each):
        end = min(b, at + each)
        lo, hi = flipped.searchsorted((at, end))
        block = _flipped(pixels[at:end], flipped[lo:hi] - at)
        if changes:
            with exact(pixels.device):
                block = _coloured(block, [part for change in changes for part in _cut(change, at, end)])
        _normalised(block, given, out[at:end])
    return out.permute(0, 3, 1, 2)


def _rows(chosen: Tensor) -> Ints:
    return np.flatnonzero(chosen.numpy())


def _cut(change: Change, at: int, end: int) -> Iterator[Change]:
    """The part of a change that falls on the images from `at` to `end`, if any does."""
    lo, hi = change.rows.searchsorted((at, end))
    if lo < hi:
        yield Change(change.apply, change.rows[lo:hi] - at, change.numbers[lo:hi])


def _flipped(pixels: Tensor, rows: Ints) -> Tensor:
    if len(rows) == 0:
        return pixels
    if len(rows) == len(pixels):
        return pixels.flip(2)
    where = sent(torch.from_numpy(rows), pixels.device)
    return pixels.index_copy(0, where, pixels.index_select(0, where).flip(2))


def _normalised(x: Tensor, given: Input, out: Tensor) -> None:
    """(x - mean) / std into out (B, S, S, 3), from bytes of that shape, or from [0, 1] as (B, 3, S, S)."""
    if x.dtype == torch.uint8:
        mean, std = (_constant(v * x.shape[2], x.device) for v in (given.mean, given.std))
        out.flatten(2).copy_(x.flatten(2)).div_(255.0).sub_(mean).div_(std)
    else:
        mean, std = (_constant(v, x.device).view(3, 1, 1) for v in (given.mean, given.std))
        out.copy_(x.sub_(mean).div_(std).permute(0, 2, 3, 1))


def _coloured(pixels: Tensor, changes: Sequence[Change]) -> Tensor:
    """x from bytes (B, S, S, 3), every change applied to its rows."""
    x = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)
    for change, (rows, numbers) in zip(changes, _sent_all(changes, x.device), strict=True):
        if len(rows) == len(x):
            change.apply(x, numbers)
        else:
            chosen = x.index_select(0, rows)
            change.apply(chosen, numbers)
            x.index_copy_(0, rows, chosen)
    return x


def _sent_all(changes: Sequence[Change], device: torch.device) -> Iterable[tuple[Tensor, Tensor]]:
    """Rows and numbers of changes on the device, as two transfers in all."""
    rows, numbers = [torch.from_numpy(c.rows) for c in changes], [c.numbers for c in changes]
    if device.type == "cpu" or not changes:
        return zip(rows, numbers, strict=True)
    sizes, shapes = [len(part) for part in rows], [part.shape for part in numbers]
    together = sent(torch.cat([part.flatten() for part in numbers]), device)
    parts = together.split([shape.numel() for shape in shapes])
    where = sent(torch.cat(rows), device).split(sizes)
    return ((at, part.view(shape)) for at, part, shape in zip(where, parts, shapes, strict=True))


def planned(view: View, u: Tensor) -> Iterator[Change]:
    """What a view does to images with the draws u (B, COLOUR_DRAWS), in order; nothing is planned for no
    image.
    """
    whole = np.arange(len(u))
    if view.rotate:
        yield Change(_rotate, whole, (u[:, 1] * 2 - 1) * view.rotate)
    if any(view.jitter):
        yield from _jitter(view.jitter, (u[:, 2] < view.jitter_p).numpy(), u[:, 3:11])
    if view.mix:
        yield Change(_mix_colours, whole, (u[:, 14:26] * 2 - 1) * view.mix)
    if len(rows := _rows(u[:, 11] < view.gray)):
        yield Change(_to_gray, rows, u[rows, 11])
    if len(rows := _rows(u[:, 12] < view.blur)):
        yield Change(_blur, rows, _kernels(view.blur_sigma, u[rows, 13], view.size))
    if len(rows := _rows(u[:, 32] < view.solarize)):
        yield Change(_solarize, rows, u[rows, 32])
    if view.lighting:
        yield Change(_lighten, whole, _lighting(view.lighting, u[:, 26:32]))


def _jitter(strength: Sequence[float], chosen: Bools, u: Tensor) -> Iterator[Change]:
    """Brightness, contrast, saturation factors uniform in [1-s, 1+s], hue shift in +-s, each image in its own
    order.
    """
    order = u[:, 4:8].argsort(1).numpy()
    numbers = [1 + (u[:, i] * 2 - 1) * strength[i] for i in range(3)] + [(u[:, 3] * 2 - 1) * strength[3]]
    for turn in range(4):
        for kind, apply in enumerate((_brighten, _contrast, _saturate, _shift_hue)):
            rows = np.flatnonzero(chosen & (order[:, turn] == kind))
            if strength[kind] and len(rows):
                yield Change(apply, rows, numbers[kind][rows])


def _brighten(x: Tensor, factor: Tensor) -> None:
    """Blends with black."""
    x.mul_(factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def _contrast(x: Tensor, factor: Tensor) -> None:
    """Blends with the mean gray."""
    gray = _gray(x)
    _blend(x, gray.copy_(_means(gray).expand_as(gray)), factor)  # as a plane: torch blends with it faster


def _saturate(x: Tensor, factor: Tensor) -> None:
    """Blends with the gray image."""
    _blend(x, _gray(x), factor)


def _blend(x: Tensor, base: Tensor, factor: Tensor) -> None:
    torch.lerp(base.expand_as(x), x, factor.view(-1, 1, 1, 1), out=x).clamp_(0, 1)


def _gray(x: Tensor) -> Tensor:
    """(B, 1, S, S)"""
    red, green, blue = (x[:, i : i + 1] * GRAY[i] for i in range(3))
    return red.add_(green).add_(blue)


def _means(gray: Tensor) -> Tensor:
    """Mean per image (B, 1, 1, 1). A single one would be summed in as many parts as there are threads."""
    if len(gray) == 1:
        return gray.expand(2, -1, -1, -1).mean((2, 3), keepdim=True)[:1]
    return gray.mean((2, 3), keepdim=True)


def _to_gray(x: Tensor, _: Tensor) -> None:
    x.copy_(_gray(x).expand_as(x))


def _shift_hue(x: Tensor, shift: Tensor) -> None:
    """RGB with its HSV hue moved by `shift` turns; value and saturation unchanged."""
    r, g, b = x.unbind(1)
    high, low = torch.maximum(torch.maximum(r, g), b), torch.minimum(torch.minimum(r, g), b)
    chroma = high - low
    red, green = torch.empty_like(r), torch.empty_like(r)  # which is the highest, the first of equals: 1 or 0
    torch.eq(r, high, out=red)
    torch.eq(g, high, out=green).addcmul_(green, red, value=-1)
    blue = 1 - red - green
    turn = (g - b).mul_(red).addcmul_(b - r, green).addcmul_(r - g, blue)  # exact: two of three are zeros
    turn.div_(low.copy_(chroma).clamp_min_(1e-12)).add_(green, alpha=2).add_(blue, alpha=4)
    # Sixths of a turn. Channel n of an HSV colour is value - chroma * clamp(min(k, 4 - k), 0, 1) with
    # k = (n + turn) mod 6 and n = 5, 3, 1; min(k, 4 - k) = 2 - |k - 2|.
    turn += shift.view(-1, 1, 1) * 6
    for channel, n in enumerate((5.0, 3.0, 1.0)):
        k = turn + n
        k.sub_((k / 6).floor_(), alpha=6)  # as remainder(6), which is slow
        k.sub_(2).abs_().neg_().add_(2).clamp_(0, 1)
        torch.addcmul(high, chroma, k, value=-1, out=x[:, channel])


def _rotate(x: Tensor, degrees: Tensor) -> None:
    """Rotation about the centre by nearest pixel, black outside, as torchvision's RandomRotation."""
    angle = degrees * (math.pi / 180)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    theta = torch.stack([torch.stack([cos, sin, zero], 1), torch.stack([-sin, cos, zero], 1)], 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    x.copy_(F.grid_sample(x, grid, mode="nearest", align_corners=False))


def _mix_colours(x: Tensor, noise: Tensor) -> None:
    """A random 3x3 colour matrix and offset around mid-gray: object and ground keep shape, not colour."""
    matrix = torch.eye(3, device=x.device) + noise[:, :9].view(-1, 3, 3)
    mixed = torch.einsum("bij,bjhw->bihw", matrix, x - 0.5) + 0.5 + noise[:, 9:].view(-1, 3, 1, 1) * 0.5
    x.copy_(mixed.clamp_(0, 1))


def _kernels(sigma: tuple[float, float], u: Tensor, side: int) -> Tensor:
    """Halves (B, R) of Gaussian kernels, from their middle: a sigma (px) an image, cut at 3 of the
    largest sigma.
    """
    std = (sigma[0] + u * (sigma[1] - sigma[0])).view(-1, 1)
    radius = min(math.ceil(3 * sigma[1]), side - 1)
    half = torch.exp(-0.5 * (torch.arange(radius + 1) / std) ** 2)
    half = half / (2 * half.sum(1, keepdim=True) - half[:, :1])
    half = half.where(half > LEAST, 0.0)  # so that an image's kernel does not depend on its batch
    return half[:, : int(half.any(0).sum())]


def _blur(x: Tensor, half: Tensor) -> None:
    """Gaussian blur, separable, edges replicated."""
    for axis in (3, 2):
        radius, side = half.shape[1] - 1, x.shape[axis]
        pad = (radius, radius, 0, 0) if axis == 3 else (0, 0, radius, radius)
        wide = F.pad(x, pad, mode="replicate")
        weights = half.view(len(half), -1, 1, 1, 1).unbind(1)
        x.mul_(weights[0])
        for away in range(1, radius + 1):
            x.addcmul_(wide.narrow(axis, radius - away, side), weights[away])
            x.addcmul_(wide.narrow(axis, radius + away, side), weights[away])


def _solarize(x: Tensor, _: Tensor) -> None:
    """1 - x where x is at least half: of bytes, from 128 on."""
    torch.where(x < 0.5, x, 1 - x, out=x)


def _lighting(std: float, u: Tensor) -> Tensor:
    """(B, 3): sum_j eigvec[c, j] * alpha_j * eigval_j, alpha ~ N(0, std) by Box-Muller from two uniforms.

    Added up one by one: how a product of matrices rounds depends on the batch on some processors.
    """
    normal = (-2 * torch.log1p(-u[:, :3])).sqrt() * torch.cos(2 * math.pi * u[:, 3:6])
    scaled, vectors = normal * std * torch.tensor(LIGHTING_VALUES), torch.tensor(LIGHTING_VECTORS)
    first, second, third = (scaled[:, j : j + 1] * vectors[:, j] for j in range(3))
    return first + second + third


def _lighten(x: Tensor, shift: Tensor) -> None:
    x.add_(shift.view(-1, 3, 1, 1))


@cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers that every batch needs: sent to a device once."""
    return torch.tensor(values, device=device)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """On the device, without waiting for it."""
    if device.type == "cuda" and not values.is_pinned():
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
