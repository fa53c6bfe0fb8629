"""Scenes composed from the 1,797 scanned handwritten digits that scikit-learn ships, 8x8 pixels each.

A scene is a dim, cluttered, coloured backdrop with one or more digits painted over it in mostly lighter
colours, the first of them in front. Each digit is enlarged smoothly, leaned, narrowed, thickened or thinned;
nothing about its place, scale or colour says which digit it is, so raw pixels are a poor feature.

The scans are divided once, within each class: of every eight, six draw training scenes, one validation and
one test scenes. A held-out scene shows scans never seen in training, though the scans' writers, whom
scikit-learn does not name, may occur on both sides.
"""

from __future__ import annotations

import functools
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SplitName = Literal["train", "val", "test"]
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEXTURES = ("stripes", "checks", "dots", "rings")
SHARES: dict[SplitName, tuple[int, ...]] = {"train": (0, 1, 2, 4, 5, 6), "val": (3,), "test": (7,)}
# Channel values: backdrops stay below DIM, litter below BRIGHT, inks at or above LIGHT. Litter that is
# brighter than some inks keeps "bright" from meaning "digit". Raising DIM by 10 costs k-NN on raw pixels some
# 4 points.
DIM, LIGHT, BRIGHT = 150, 130, 220

Mask = NDArray[np.bool_]


class Box(NamedTuple):
    """A rectangle in pixels, half open: columns x0 <= x < x1 and rows y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True)
class Sprite:
    """A digit, or a crowd of small ones, to be painted: `alpha`
    is an "L" image cropped to its ink, 255 opaque.
    """

    label: int
    alpha: Image.Image
    small: bool = False
    crowd: bool = False


@dataclass(frozen=True)
class Thing:
    """A painted digit as it can be seen: its `mask`, bool (height, width), leaves out what others hide.

    `box` is the tight extent of the mask. `difficult` as in PASCAL VOC: too small, or more than 40 % hidden;
    `truncated`: more than 5 % hidden.
    """

    label: int
    mask: Mask
    box: Box
    difficult: bool
    truncated: bool
    crowd: bool


@dataclass(frozen=True)
class Scene:
    """An RGB image and what is in it, front to back."""

    image: Image.Image
    things: tuple[Thing, ...]


@functools.cache
def scans(split: SplitName) -> tuple[tuple[int, ...], ...]:
    """Row numbers in `load_digits()` of the scans that may appear in a split, one tuple for each digit."""
    target = load()[1]
    rows = [np.flatnonzero(target == digit) for digit in range(10)]
    return tuple(tuple(r[np.isin(np.arange(len(r)) % 8, SHARES[split])].tolist()) for r in rows)


@functools.cache
def load() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import load_digits  # costs a second to import, which reading Size need not pay

    digits = load_digits()
    # Two empty cells around each scan, so that the bicubic filter fades out instead of meeting a hard edge.
    images = np.pad(digits.images * (255 / 16), ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    return images, digits.target


def sprite(
    rng: np.random.Generator, split: SplitName, label: int, side: float, small: bool = False
) -> Sprite:
    """A random scan of a digit, its 8x8 cells enlarged to `side` pixels, then leaned by up to 15 degrees."""
    rows = scans(split)[label]
    scan = Image.fromarray(load()[0][rows[rng.integers(len(rows))]])
    angle, stretch, threshold = rng.uniform((-0.26, 0.8, 85), (0.26, 1.0, 125)).tolist()
    canvas, cell = math.ceil(side * 1.5), side / 8
    cos, sin, middle = math.cos(angle), math.sin(angle), canvas / 2
    across, down = 1 / (cell * stretch), 1 / cell
    # From an output pixel to a place in the scan: turn about the middle, shrink, move to the scan's middle.
    matrix = (cos * across, sin * across, 6 - (cos + sin) * across * middle,
              -sin * down, cos * down, 6 - (cos - sin) * down * middle)  # fmt: skip
    smooth = scan.transform((canvas, canvas), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    gain = max(1.0, side / 10)  # keeps the blur at the stroke's edge near one pixel at every scale
    alpha = np.clip((np.asarray(smooth, np.float32) - threshold) * gain + 128, 0, 255).astype(np.uint8)
    return Sprite(label, _cropped(alpha), small)


def crowd(rng: np.random.Generator, split: SplitName, label: int, side: int) -> Sprite:
    """Nine small digits of one class in a loose grid about `side` pixels wide, as one region."""
    alpha, step = Image.new("L", (side, side)), side / 3
    for cell in range(9):
        one = sprite(rng, split, label, step).alpha
        alpha.paste(255, (round(cell % 3 * step), round(cell // 3 * step)), one)
    return Sprite(label, _cropped(np.asarray(alpha)), crowd=True)


def _cropped(alpha: NDArray[np.uint8]) -> Image.Image:
    """The part of alpha that holds every pixel counted as ink, one that is at least half opaque."""
    return Image.fromarray(alpha).crop(extent(alpha >= 128))


def extent(mask: Mask) -> Box:
    """The tightest box around the true pixels of a mask, bool (height, width), that has at least one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def backdrop(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Drifting dim colours under a litter of lines, discs and blocks in random colours, without any digit."""
    cells = (max(3, round(3 * height / 64)), max(3, round(3 * width / 64)))
    coarse = rng.integers(0, DIM, (*cells, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return _litter(rng, image, amount=6)


def texture(rng: np.random.Generator, kind: str, width: int, height: int) -> Image.Image:
    """One of TEXTURES in two dim colours, of random period (5
    to 8 pixels), phase and angle, lightly littered.
    """
    period, angle, phase_u, phase_v = rng.uniform((5, 0, 0, 0), (8, np.pi, 2 * np.pi, 2 * np.pi)).tolist()
    y, x = np.mgrid[:height, :width] * (2 * np.pi / period)
    u, v = x * np.cos(angle) + y * np.sin(angle) + phase_u, y * np.cos(angle) - x * np.sin(angle) + phase_v
    wave = {
        "stripes": np.sin(u),
        "checks": 2 * np.sin(u) * np.sin(v),
        "dots": np.cos(u) + np.cos(v) - 0.8,
        "rings": np.sin(np.hypot(x - x.max() * phase_u / (2 * np.pi), y - y.max() * phase_v / (2 * np.pi))),
    }[kind]
    colours = rng.integers(0, DIM + 16, (6, 3))
    one, other = colours[0], colours[np.abs(colours - colours[0]).sum(axis=1).argmax()]  # never too alike
    share = np.clip(0.5 + 1.5 * wave, 0, 1)[..., None]
    return _litter(rng, Image.fromarray((one + share * (other - one)).astype(np.uint8)), amount=2)


def _litter(rng: np.random.Generator, image: Image.Image, amount: int) -> Image.Image:
    draw, unit = ImageDraw.Draw(image), image.height / 32
    starts, ends = rng.uniform(-0.1, 1.1, (2, amount, 2)) * image.size
    reach = rng.uniform(2, 9, (amount, 2)) * unit
    colours = map(tuple, rng.integers(0, BRIGHT, (amount, 3)).tolist())
    shapes = zip(starts.tolist(), ends.tolist(), reach.tolist(), colours, strict=True)
    for i, ((x, y), end, (wide, high), colour) in enumerate(shapes):
        if i % 3 == 0:
            draw.line((x, y, *end), colour, max(1, round(wide / 3)))
        elif i % 3 == 1:
            draw.ellipse((x, y, x + wide, y + high), colour)
        else:
            draw.rectangle((x, y, x + wide, y + high), colour)
    return image


def compose(rng: np.random.Generator, image: Image.Image, sprites: list[Sprite]) -> Scene:
    """The backdrop with the sprites painted over it at random places, the first in front, under fine grain.

    A sprite of which less than 30 % would be seen is left out.
    """
    things: list[Thing] = []
    layers: list[tuple[Image.Image, tuple[int, int]]] = []
    hidden, taken = np.zeros((2, image.height, image.width), bool)
    for one in sprites:
        corner = _corner(rng, taken, one.alpha)
        whole = Image.new("L", image.size)
        whole.paste(one.alpha, corner)
        ink = np.asarray(whole) >= 128
        seen = ink & ~hidden
        share = float(seen.sum() / ink.sum())
        if share >= 0.3:
            difficult, truncated = one.small or share < 0.6, share < 0.95
            things.append(Thing(one.label, seen, extent(seen), difficult, truncated, one.crowd))
            layers.append((one.alpha, corner))
            hidden |= ink
    for alpha, corner in reversed(layers):
        image.paste(tuple(rng.integers(LIGHT, 256, 3).tolist()), corner, alpha)
    noise = rng.standard_normal((image.height, image.width, 3), np.float32) * np.float32(10)
    pixels = np.clip(np.asarray(image, np.float32) + noise, 0, 255).astype(np.uint8)
    return Scene(Image.fromarray(pixels), tuple(things))


def _corner(rng: np.random.Generator, taken: Mask, alpha: Image.Image) -> tuple[int, int]:
    """The corner (x, y), of four random ones, where the
    sprite's box covers least of `taken`; marks it taken.
    """
    room = (
        np.array(taken.shape[::-1]) - alpha.size
    )  # negative for a sprite larger than the scene: edges cut it
    corners = np.floor(rng.random((4, 2)) * (room + 1)).astype(int).tolist()
    boxes = [np.s_[max(y, 0) : y + alpha.height, max(x, 0) : x + alpha.width] for x, y in corners]
    best = int(np.argmin([taken[box].sum() for box in boxes]))
    taken[boxes[best]] = True
    return corners[best][0], corners[best][1]


def group(
    rng: np.random.Generator,
    split: SplitName,
    first: int,
    side: int,
    size: tuple[int, int],
    others: int,
    crowded: bool = False,
) -> Scene:
    """A scene of `size` (width, height): the digit `first`, large and in front, and random others behind it.

    A digit's height is 0.3 to 0.6 of `side`, but one in five of the others is small, at most a fifth of it.
    Others that end up hidden are left out. `crowded` adds a crowd.
    """
    sprites = [sprite(rng, split, first, side * rng.uniform(0.3, 0.6))]
    for _ in range(others):
        small = bool(rng.random() < 0.2)
        share = rng.uniform(0.14, 0.2) if small else rng.uniform(0.3, 0.6)
        sprites.append(sprite(rng, split, int(rng.integers(10)), side * share, small))
    if crowded:
        sprites.append(crowd(rng, split, int(rng.integers(10)), side // 2))
    return compose(rng, backdrop(rng, *size), sprites)


def around(rng: np.random.Generator, side: int) -> tuple[int, int]:
    """A width and a height, each within a sixth of `side`."""
    width, height = rng.integers(side - side // 6, side + side // 6, 2, endpoint=True).tolist()
    return width, height


def cycle(rng: np.random.Generator, amount: int) -> list[int]:
    """Digits in random order, each once in the first ten, once in the next ten, and so on."""
    digits: list[int] = np.concatenate([rng.permutation(10) for _ in range(0, amount, 10)])[:amount].tolist()
    return digits


def save(image: Image.Image, path: Path) -> None:
    """Writes an image in the format that its path's ending names, JPEG at quality 95."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=95)


def stream(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one named part of the data, which no other part's size can shift."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
