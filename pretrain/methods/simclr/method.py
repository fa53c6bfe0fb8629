"""SimCLR (Chen et al., ICML 2020, arXiv 2002.05709): an image is told from all others of the batch.

    loss = mean_i -log exp(z_i . z_p / T) / sum_{j != i} exp(z_i . z_j / T)

i counts the two views of all B images, over all processes, and p is the other view of i's image: NT-Xent.
Every process takes the rows i of its own images and the columns j of all; gradients reach a feature through
both, so that the sum over processes is that of one.

Features z (2b, D) have unit length: two linear layers behind the backbone, a batch norm after each.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.base import dist
from pretrain.base.numerics import exact
from pretrain.cluster import health
from pretrain.data.loader import Batch
from pretrain.methods.simclr.recipes import SimCLRRecipe
from pretrain.nets import archs, heads
from pretrain.train.method import At, Loss, Method, TrainingData

ADVICE = "try a lower learning rate, a longer warm-up, or a larger batch"


class SimCLR(Method):
    """Backbone and projector onto the unit sphere."""

    net: heads.Network

    def __init__(self, recipe: SimCLRRecipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        self.recipe = recipe
        backbone = archs.build(recipe.arch, recipe.input, seed)
        self.net = heads.Network(backbone, _projector(backbone.dim, recipe), nn.Identity())

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        """NT-Xent of this process's images against those of all."""
        z, _ = net(batch.views)
        with exact(self.device):
            value = nt_xent(z, every(z), dist.rank() * len(z), self.recipe.temperature)
        return Loss(value, (z.detach(),))

    def epoch_diagnostics(self, data: TrainingData, at: At, last: Loss) -> dict[str, float | str]:
        return health.of_features(last.seen[0], ADVICE)


def nt_xent(z: Tensor, others: Tensor, first: int, temperature: float) -> Tensor:
    """Mean loss of z (2b, D), the first views of b images and then the second ones.

    others: (2B, D), of which z is the rows from `first` on.
    """
    rows = torch.arange(len(z), device=z.device)
    itself = torch.arange(len(others), device=z.device) == first + rows[:, None]
    logits = (z @ others.T / temperature).masked_fill(itself, -torch.inf)
    return F.cross_entropy(logits, first + rows.roll(len(z) // 2))


def every(z: Tensor) -> Tensor:
    """Rows of all processes in rank order; the gradient comes back from all of them."""
    made = _Every.apply(z)
    assert isinstance(made, Tensor)
    return made


class _Every(torch.autograd.Function):
    """A gather whose backward pass sums what the processes want of each row, for each its own."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.rows = len(z)
        return dist.all_gather_rows(z, equal=True).clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = dist.all_reduce_sum_(gradients[0].contiguous().clone())
        return total[dist.rank() * ctx.rows :][: ctx.rows]


def _projector(inside: int, recipe: SimCLRRecipe) -> nn.Sequential:
    """Two layers without biases, which their batch norms have, onto the unit sphere."""
    first, second = (
        nn.Linear(inside, recipe.hidden, bias=False),
        nn.Linear(recipe.hidden, recipe.dim, bias=False),
    )
    norms = nn.BatchNorm1d(recipe.hidden), nn.BatchNorm1d(recipe.dim)
    return nn.Sequential(first, norms[0], nn.ReLU(inplace=True), second, norms[1], heads.Unit())
