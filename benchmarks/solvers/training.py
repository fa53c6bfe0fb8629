"""How linear heads on a frozen backbone are declared: a head, its solver, and what all of one pass share.

No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pretrain.base.settings import Positive, Rate, settings
from pretrain.data.view import View
from pretrain.train.recipe import Scheduled


@settings
class Solver(Scheduled):
    """SGD of one kind of head; the schedule moves per epoch. weight_decay: of linear layers, not of norms."""

    epochs: Positive
    lr: Rate
    weight_decay: Rate
    nesterov: bool
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9


@settings
class Training:
    """What heads that are trained in one pass share. views: one for all, or one for each kind, at the size of
    the backbone; pooled: largest flattened size of a map; precision: of the frozen backbone, heads are fp32.
    """

    views: Annotated[tuple[View, ...], Field(min_length=1, max_length=2)]
    batch_size: Annotated[int, Field(ge=2)] = 256  # one image has no variance for batch norm
    pooled: Positive = 9216
    precision: Literal["fp32", "bf16"] = "fp32"


@dataclass(frozen=True)
class Head:
    """A linear classifier on a map of a frozen backbone.

    map: which of the five, finest first; view: which of a batch, the first or the last; pool: of the map,
    over an even grid or over all of it; norm: batch norm in front, without ("plain") or with scale and shift
    ("affine"); std: of its normal weights, the bias being 0; None draws both uniformly, as torch does.
    """

    name: str
    solver: Solver
    map: int
    view: Literal["first", "last"] = "first"
    pool: Literal["grid", "average"] = "grid"
    norm: Literal["none", "plain", "affine"] = "none"
    std: float | None = 0.01
