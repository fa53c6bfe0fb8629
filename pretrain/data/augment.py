"""Views of images: geometry per image with PIL, colour per batch on tensors.

Every random number comes from `uniforms(seed, epoch, sample, stream)`: a view depends on neither rank,
worker nor batch, so a resumed run and a run with another world size see the same views. A sample is an id
and its occurrence in the epoch: an image that is drawn twice is seen in two views. B batch, S side in px.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pretrain.data.view import Input, View

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
GEOMETRY_DRAWS = 24  # 10 tries of (area, aspect), then the place of the crop
COLOUR_DRAWS = 40
BILINEAR = Image.Resampling.BILINEAR

# AlexNet's PCA lighting noise on RGB in [0, 1]: eigenvalues and eigenvectors (rows R, G, B) of ImageNet
# colours.
LIGHTING_VALUES = (0.2175, 0.0188, 0.0045)
LIGHTING_VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
GRAY = (0.299, 0.587, 0.114)  # ITU-R 601 luma, as PIL's convert("L")


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


def finish(pixels: Tensor, view: View, u: Tensor, given: Input) -> Tensor:
    """Normalised views (B, 3, S, S) fp32 from uint8 pixels (B, S, S, 3) and COLOUR_DRAWS uniforms per row.

    Order as in the papers: flip, rotation, colour jitter (the four in random order per image), gray, blur,
    lighting.
    """
    x = pixels.permute(0, 3, 1, 2).contiguous().float().div_(255.0)
    if view.flip:
        x = torch.where((u[:, 0] < view.flip).view(-1, 1, 1, 1), x.flip(3), x)
    if view.rotate:
        x = _rotate(x, (u[:, 1] * 2 - 1) * view.rotate)
    if any(view.jitter):
        x = _where(u[:, 2] < view.jitter_p, _jitter(x.clone(), view.jitter, u[:, 3:11]), x)
    if view.mix:
        x = _mix_colours(x, view.mix, u[:, 14:26])
    if view.gray:
        x = _where(u[:, 11] < view.gray, _gray(x).expand_as(x), x)
    if view.blur:
        x = _where(u[:, 12] < view.blur, _blur(x, view.blur_sigma, u[:, 13]), x)
    if view.lighting:
        x = x + _lighting(view.lighting, u[:, 26:32], x)
    return normalise(x, given)


def normalise(x: Tensor, given: Input) -> Tensor:
    """(x - mean) / std per channel of pixels in [0, 1]."""
    mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (given.mean, given.std))
    return (x - mean) / std


def _where(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(chosen.view(-1, 1, 1, 1), new, old)


def _gray(x: Tensor) -> Tensor:
    weights = torch.tensor(GRAY, device=x.device, dtype=x.dtype).view(1, 3, 1, 1)
    return (x * weights).sum(1, keepdim=True)


def _rotate(x: Tensor, degrees: Tensor) -> Tensor:
    """Rotation about the centre by nearest pixel, black outside, as torchvision's RandomRotation."""
    angle = degrees * (math.pi / 180)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    theta = torch.stack([torch.stack([cos, sin, zero], 1), torch.stack([-sin, cos, zero], 1)], 1).to(x.dtype)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="nearest", align_corners=False)


def _jitter(x: Tensor, strength: Sequence[float], u: Tensor) -> Tensor:
    """Brightness, contrast, saturation factors uniform in [1-s,
    1+s], hue shift in +-s, each image in its own order.
    """
    order = u[:, 4:8].argsort(1)
    factor = [1 + (u[:, i] * 2 - 1).to(x.dtype) * strength[i] for i in range(3)]
    shift = ((u[:, 3] * 2 - 1) * strength[3]).to(x.dtype)
    for turn in range(4):
        for kind in range(4):
            if strength[kind] == 0:
                continue
            rows = (order[:, turn] == kind).nonzero().squeeze(1)
            chosen = x[rows]
            done = _shift_hue(chosen, shift[rows]) if kind == 3 else _scale(chosen, kind, factor[kind][rows])
            x.index_copy_(0, rows, done)
    return x


def _scale(x: Tensor, kind: int, factor: Tensor) -> Tensor:
    """Blend with black (0: brightness), the mean gray (1: contrast) or the gray image (2: saturation)."""
    if kind == 0:
        return (x * factor.view(-1, 1, 1, 1)).clamp_(0, 1)
    base = _gray(x)
    if kind == 1:
        base = base.mean((2, 3), keepdim=True)
    return torch.lerp(base.expand_as(x), x, factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def _shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """RGB with its HSV hue moved by `shift` turns; value and saturation unchanged."""
    r, g, b = x.unbind(1)
    high, low = torch.maximum(torch.maximum(r, g), b), torch.minimum(torch.minimum(r, g), b)
    chroma = high - low
    turn = torch.where(r == high, g - b, torch.where(g == high, b - r, r - g)) / chroma.clamp_min(1e-12)
    turn += torch.where(r == high, 0.0, torch.where(g == high, 2.0, 4.0))
    # Sixths of a turn. Channel n of an HSV colour is value - chroma * clamp(min(k, 4 - k), 0, 1) with
    # k = (n + turn) mod 6 and n = 5, 3, 1; min(k, 4 - k) = 2 - |k - 2|.
    turn += shift.view(-1, 1, 1) * 6
    out = torch.empty_like(x)
    for channel, n in enumerate((5.0, 3.0, 1.0)):
        k = (turn + n).remainder_(6).sub_(2).abs_().neg_().add_(2).clamp_(0, 1)
        torch.addcmul(high, chroma, k, value=-1, out=out[:, channel])
    return out


def _mix_colours(x: Tensor, strength: float, u: Tensor) -> Tensor:
    """A random 3x3 colour matrix and offset around mid-gray: object and ground keep shape, not colour."""
    noise = (u * 2 - 1).to(x.dtype) * strength
    matrix = torch.eye(3, device=x.device, dtype=x.dtype) + noise[:, :9].view(-1, 3, 3)
    mixed = torch.einsum("bij,bjhw->bihw", matrix, x - 0.5) + 0.5 + noise[:, 9:].view(-1, 3, 1, 1) * 0.5
    return mixed.clamp_(0, 1)


def _blur(x: Tensor, sigma: tuple[float, float], u: Tensor) -> Tensor:
    """Gaussian blur with a sigma (px) per image, separable, edges replicated."""
    std = (sigma[0] + u * (sigma[1] - sigma[0])).to(x.dtype).view(-1, 1)
    radius = min(math.ceil(3 * sigma[1]), x.shape[-1] - 1)
    offset = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (offset / std) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)  # one per image and channel
    b, c, h, w = x.shape
    flat = F.pad(x.reshape(1, b * c, h, w), (radius,) * 4, mode="replicate")
    flat = F.conv2d(flat, kernel.view(b * c, 1, 1, -1), groups=b * c)
    return F.conv2d(flat, kernel.view(b * c, 1, -1, 1), groups=b * c).view(b, c, h, w)


def _lighting(std: float, u: Tensor, x: Tensor) -> Tensor:
    """(B, 3, 1, 1): sum_j eigvec[c, j] * alpha_j * eigval_j,
    alpha ~ N(0, std) by Box-Muller from two uniforms.
    """
    normal = (-2 * torch.log1p(-u[:, :3])).sqrt() * torch.cos(2 * math.pi * u[:, 3:6])
    values = torch.tensor(LIGHTING_VALUES, device=u.device, dtype=u.dtype)
    vectors = torch.tensor(LIGHTING_VECTORS, device=u.device, dtype=u.dtype)
    return ((normal * std * values) @ vectors.T).to(x.dtype).view(-1, 3, 1, 1)
