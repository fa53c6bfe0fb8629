"""Linear heads on the maps of a frozen backbone, and their accuracy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.features import pool
from pretrain.nets.heads import linear


class Heads(nn.Module):
    """Six independent classifiers. forward(maps, average) gives six logits (B, classes).

    Feature1-5: pooled map, batch norm without scale and shift, linear. AvgPool: global average, linear alone.
    """

    def __init__(self, maps: list[Tensor], classes: int, limit: int) -> None:
        super().__init__()
        self.limit = limit
        shapes = [m.shape[1:] for m in pool(maps, limit)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(shape[0], affine=False) for shape in shapes)
        sizes = [shape.numel() for shape in shapes] + [maps[-1].shape[1]]
        self.linears = nn.ModuleList(linear(size, classes, std=0.01) for size in sizes)

    def forward(self, maps: list[Tensor], average: Tensor) -> list[Tensor]:
        """Logits from five maps and the globally averaged last
        map (B, dim) (which may come from another view).
        """
        pooled = [norm(m).flatten(1) for norm, m in zip(self.norms, pool(maps, self.limit), strict=True)]
        return [head(x) for head, x in zip(self.linears, [*pooled, average], strict=True)]


def hits(logits: Tensor, truth: Tensor) -> Tensor:
    """int64 (2,): how many rows have the true class first, and among the first five (or all, if fewer)."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices == truth[:, None]
    return torch.stack([best[:, 0].sum(), best.any(1).sum()])
