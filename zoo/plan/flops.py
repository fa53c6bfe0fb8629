"""Floating-point operations of one image through an architecture, by arithmetic. No torch here.

Convolutions alone count, two operations for a multiplication and its addition, as torch's counter has them:
tests/test_hours.py holds every architecture of the zoo against that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

RGB, EDGES = 3, 2  # channels of the stem: colours, or the two of the Sobel front-end
TRAINING = 3  # forward, and about twice as much backward: the inputs' and the weights' gradients
Layer = tuple[int, ...]


def forward(arch: str, side: int, sobel: bool = False, output_stride: int = 32) -> float | None:
    """Of an image of `side` px; None for an architecture that is not known here, as those of timm.

    output_stride: pixels per cell of the last map of a ResNet where later stages dilate instead.
    """
    if arch not in COUNTS:
        return None
    channels = EDGES if sobel else RGB
    shape = RESNETS.get(arch)
    count = _resnet(*shape, side, channels, output_stride) if shape else COUNTS[arch](side, channels)
    return count + _convolution(RGB, EDGES, 3, side) if sobel and count else count


def _convolution(inside: int, outside: int, kernel: int, side: int) -> float:
    """One that gives a map of side x side cells."""
    return 2.0 * inside * outside * kernel**2 * side**2


def _after(side: int, kernel: int, stride: int, padding: int) -> int:
    return (side + 2 * padding - kernel) // stride + 1


def _resnet(
    bottleneck: bool,
    depth: Layer,
    width: int,
    small: bool,
    edge: int,
    first: bool,
    side: int,
    channels: int,
    output_stride: int = 32,
) -> float:
    """first: the stride is in the first 1x1; edge: px of padding of the stem beyond what keeps the size."""
    kernel, stride = (3, 1) if small else (7, 2)
    side = _after(side, kernel, stride, kernel // 2 + edge)
    total = _convolution(channels, width, kernel, side)
    pixels = stride
    if not small:
        side, pixels = _after(side, 3, 2, 1), pixels * 2
    inside = width
    for i, blocks in enumerate(depth):
        middle = width * 2**i
        for j in range(blocks):
            step = 2 if i and not j and pixels < output_stride else 1
            pixels *= step
            total, side = (
                total + _block(bottleneck, inside, middle, step, first, side),
                (side - 1) // step + 1,
            )
            inside = middle * (4 if bottleneck else 1)
    return total


def _block(bottleneck: bool, inside: int, middle: int, step: int, first: bool, side: int) -> float:
    after = (side - 1) // step + 1
    outside = middle * (4 if bottleneck else 1)
    shortcut = _convolution(inside, outside, 1, after) if step > 1 or inside != outside else 0.0
    if not bottleneck:
        return shortcut + _convolution(inside, middle, 3, after) + _convolution(middle, middle, 3, after)
    entry = _convolution(inside, middle, 1, after if first else side)
    return shortcut + entry + _convolution(middle, middle, 3, after) + _convolution(middle, outside, 1, after)


def _cifar(blocks: int, side: int, channels: int) -> float:
    total, inside = _convolution(channels, 16, 3, side), 16
    for i, width in enumerate((16, 32, 64)):
        side = (side - 1) // (2 if i else 1) + 1
        total += _convolution(inside, width, 3, side) + (2 * blocks - 1) * _convolution(width, width, 3, side)
        inside = width
    return total


def _plain(layers: tuple[Layer, ...], side: int, channels: int) -> float:
    """layers: (channels, kernel, stride, padding) of a convolution, (kernel, stride) of a pooling."""
    total = 0.0
    for layer in layers:
        if len(layer) == 2:
            side = _after(side, *layer, 0)
            continue
        outside, kernel, stride, padding = layer
        side = _after(side, kernel, stride, padding)
        total, channels = total + _convolution(channels, outside, kernel, side), outside
    return total


def _nothing(side: int, channels: int) -> float:
    return 0.0


_ALEXNET = (
    (96, 11, 4, 2),
    (3, 2),
    (256, 5, 1, 2),
    (3, 2),
    (384, 3, 1, 1),
    (384, 3, 1, 1),
    (256, 3, 1, 1),
)
_VGG16 = tuple(
    layer
    for n, channels in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
    for layer in (*[(channels, 3, 1, 1)] * n, (2, 2))
)
_50, _101, _34, _18, _10 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 4, 6, 3), (2, 2, 2, 2), (1, 1, 1, 1)
# name -> bottleneck, blocks of each stage, width, small stem, padding beyond, stride in the first 1x1
RESNETS: dict[str, tuple[bool, Layer, int, bool, int, bool]] = {
    "resnet50": (True, _50, 64, False, 0, False),
    "resnet50w2": (True, _50, 128, False, 0, False),
    "resnet50w4": (True, _50, 256, False, 0, False),
    "resnet101": (True, _101, 64, False, 0, False),
    "resnet50_v1": (True, _50, 64, False, 0, True),
    "resnet101_v1": (True, _101, 64, False, 0, True),
    "resnet34": (False, _34, 64, False, 0, False),
    "resnet18": (False, _18, 64, False, 0, False),
    "resnet18_small": (False, _18, 64, True, 0, False),
    "resnet50_small": (True, _50, 64, True, 0, False),
    "resnet18_small_pad2": (False, _18, 64, True, 1, False),
    "resnet50_small_pad2": (True, _50, 64, True, 1, False),
    "resnet10_narrow": (False, _10, 16, True, 0, False),
    "resnet10_half": (False, _10, 32, False, 0, False),
}
COUNTS: dict[str, Callable[[int, int], float]] = {
    **{name: partial(_resnet, *shape) for name, shape in RESNETS.items()},
    **{f"resnet{6 * blocks + 2}": partial(_cifar, blocks) for blocks in (3, 5, 7, 9)},
    "alexnet": partial(_plain, _ALEXNET),
    "vgg16_bn": partial(_plain, _VGG16),
    "pixels": _nothing,
}
