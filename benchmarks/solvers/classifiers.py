"""Independent linear classifiers on the maps of a frozen backbone, and what each of them sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from benchmarks.features import pool
from benchmarks.solvers.training import Head
from pretrain.nets.backbone import MAPS
from pretrain.nets.heads import linear


class Seen(NamedTuple):
    """What a head is on; heads on the same share it."""

    pool: str
    view: str
    map: int


Inputs = Mapping[Seen, Tensor]  # fp32 (B, C, g, g) each


def seen(head: Head) -> Seen:
    return Seen(head.pool, head.view, head.map)


class Heads(nn.Module):
    """Independent classifiers, drawn in their order. maps: of the backbone, to see their shapes."""

    def __init__(self, heads: Sequence[Head], maps: list[Tensor], classes: int, limit: int) -> None:
        super().__init__()
        self.heads, self.limit = tuple(heads), limit
        self.norms, self.linears = nn.ModuleDict(), nn.ModuleDict()
        inputs = self.inputs([maps], self.heads)
        for head in self.heads:
            x = inputs[seen(head)]
            if head.norm != "none":
                self.norms[head.name] = nn.BatchNorm2d(x.shape[1], affine=head.norm == "affine")
            self.linears[head.name] = _drawn(x[0].numel(), classes, head.std)

    def inputs(self, views: list[list[Tensor]], heads: Sequence[Head]) -> dict[Seen, Tensor]:
        """What heads are on; maps are pooled once for all the heads on a view. views: the maps of each."""
        given = {"first": views[0], "last": views[-1]}
        wanted = {(head.pool, head.view) for head in heads}
        grids = {
            view: pool([m.float() for m in maps[:MAPS]], self.limit)
            for view, maps in given.items()
            if ("grid", view) in wanted
        }
        means = {
            view: maps[-1].float().mean((2, 3), keepdim=True)
            for view, maps in given.items()
            if ("average", view) in wanted
        }
        # The maps that there are, are the last.
        return {
            seen(head): grids[head.view][head.map - MAPS] if head.pool == "grid" else means[head.view]
            for head in heads
        }

    def forward(self, inputs: Inputs, names: Sequence[str]) -> list[Tensor]:
        """Logits (B, classes) of the heads of these names, in their own order."""
        logits = []
        for head in self.heads:
            if head.name in names:
                x = inputs[seen(head)]
                x = self.norms[head.name](x) if head.norm != "none" else x
                logits.append(self.linears[head.name](x.flatten(1)))
        return logits


def _drawn(inside: int, outside: int, std: float | None) -> nn.Linear:
    return nn.Linear(inside, outside) if std is None else linear(inside, outside, std=std)
