"""Which architecture a set of tensors is, by names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from pretrain.data.view import Input
from pretrain.nets.archs import ARCHS, build

COUNTER = "num_batches_tracked"
# Architectures whose shapes are another's; which one it is, a layout or a flag says.
TWINS = ("resnet50_v1", "resnet101_v1", "resnet18_small_pad2", "resnet50_small_pad2")
Shapes = Mapping[str, tuple[int, ...]]
WHOLE = (-1,)  # in place of a shape where numbers are not real: quantised weights have a scale elsewhere


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a tensor of weights; one that no weights have where its numbers are none."""
    return tuple(tensor.shape) if tensor.is_floating_point() else WHOLE


@cache
def expected(arch: str, sobel: bool) -> Shapes:
    """Names and shapes of the tensors of an architecture, batch counters aside."""
    with torch.device("meta"):
        net = build(arch, Input(size=64, resize=64, sobel=sobel), 0)
    return {n: tuple(t.shape) for n, t in net.state_dict().items() if not n.endswith(COUNTER)}


@dataclass(frozen=True)
class Fit:
    """How the tensors of a file fit an architecture; names are ours."""

    arch: str
    sobel: bool
    expected: int
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    wrong: tuple[str, ...]
    strange: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the architecture that is there, in [0, 1]; strange tensors count against it."""
        return len(self.matched) / max(1, self.expected + len(self.strange))


def fit(arch: str, sobel: bool, found: Shapes, inside: frozenset[str], folded: bool = False) -> Fit:
    """inside: those of `found` that would be the backbone's if they had a place in it; folded: without the
    statistics of batch norm.
    """
    wanted = expected(arch, sobel)
    if folded:
        wanted = {name: shape for name, shape in wanted.items() if ".running_" not in name}
    matched = tuple(n for n in wanted if found.get(n) == wanted[n])
    return Fit(
        arch,
        sobel,
        len(wanted),
        matched,
        tuple(n for n in wanted if n not in found),
        tuple(n for n in wanted if n in found and found[n] != wanted[n]),
        tuple(sorted(n for n in inside if n not in wanted and not n.endswith(COUNTER))),
    )


def nearest(
    found: Shapes, inside: frozenset[str], sobel: bool, arch: str | None = None, folded: bool = False
) -> Fit:
    """The best fit of one architecture, or of all but twins."""
    archs = [arch] if arch else [name for name in ARCHS if name not in TWINS]
    return max((fit(name, sobel, found, inside, folded) for name in archs), key=lambda one: one.share)
