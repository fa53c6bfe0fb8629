"""Invariance Propagation (Wang et al., NeurIPS 2020, arXiv 2010.11694): hard positives from neighbours of
neighbours in a memory bank.

State: bank M (N, D) of unit features, the k nearest images of each, G (N, k). Per step, with unit features z
of one view, s_j = exp(z . M_j / T), the background U of the nearest rows of M, the image itself mostly among
them, and P the hardest of the images that `layers` steps through G reach:

    instance     -log(s_i / sum_U s)
    propagation  -log(sum_P s / (sum_U s - s_i))        from epoch `propagate_from` on, weighted
    then         G_i <- the k nearest of U without i,  M_i <- unit(m M_i + (1 - m) z)

As in the released code, which adds 1e-7 to both shares, images are reached as often as ways lead to them, the
image itself included: k + k^2 + ... ids. Nearest rows are sought tile by tile and without gradient; then only
the products with the rows that were found are taken again, so neither N x N nor b x N numbers are ever kept.

N images, D dimensions, b batch of one process. Every process updates the same memories from the same gathered
rows.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.base import dist
from pretrain.base.numerics import exact
from pretrain.cluster import health
from pretrain.cluster.nearest import matmul_precision
from pretrain.data.loader import Batch
from pretrain.methods.invariance_propagation.recipes import InvariancePropagationRecipe
from pretrain.nets import archs, heads
from pretrain.train.method import At, Loss, Method, TrainingData, derive

EPSILON = 1e-7
TILE = 1 << 16  # rows of the bank that are compared at a time
ADVICE = "try a lower learning rate, a higher temperature, or a later 'propagate_from'"


class InvariancePropagation(Method):
    """Backbone and a head of two layers onto the unit sphere."""

    net: heads.Network
    bank: Tensor  # M (N, D)
    graph: Tensor  # G int32 (N, k); an image not seen yet is its own neighbour

    def __init__(self, recipe: InvariancePropagationRecipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        self.recipe = recipe
        backbone = archs.build(recipe.arch, recipe.input, seed)
        self.net = heads.Network(backbone, _neck(backbone.dim, recipe), nn.Identity())
        generator = torch.Generator().manual_seed(derive(seed, 1))  # the same on every process
        reach = math.sqrt(3 / recipe.dim)  # rows have unit length on average
        self.register_buffer("bank", reach * (2 * torch.rand(n, recipe.dim, generator=generator) - 1))
        own = torch.arange(n, dtype=torch.int32)[:, None]
        self.register_buffer("graph", own.repeat(1, recipe.neighbours))

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        """Instance discrimination and, later, propagation; `seen` are ids, features and nearest images."""
        recipe, index = self.recipe, batch.index
        z, _ = net(batch.views[:1])
        with exact(self.device):
            near = nearest(z.detach(), self.bank, recipe.background)
            own = self._similar(z, index[:, None])
            background = self._similar(z, near).logsumexp(1, keepdim=True)
            value = -((own - background).exp() + EPSILON).log().mean()
            if at.epoch >= recipe.propagate_from:
                value = value + recipe.positive_weight * self._propagation(z, index, own, background)
        return Loss(value, (index, z.detach(), others(near[:, : recipe.neighbours + 1], index)))

    def _similar(self, z: Tensor, ids: Tensor) -> Tensor:
        """z . M_j / T (b, c) for ids j (b, c)."""
        return torch.einsum("bd,bcd->bc", z, self.bank[ids]) / self.recipe.temperature

    def _propagation(self, z: Tensor, index: Tensor, own: Tensor, background: Tensor) -> Tensor:
        """Mean loss of the hardest positives; own, background (b, 1): logarithms of s_i and of sum_U s."""
        reached = reach(self.graph, index, self.recipe.layers)
        similar = self._similar(z, reached)
        hard = similar.topk(min(self.recipe.positives, similar.shape[1]), largest=False).values
        rest = background + torch.log1p(-(own - background).exp().clamp_max(1 - EPSILON))
        share = (hard.logsumexp(1, keepdim=True) - rest).exp()
        return -(share + EPSILON).log().mean()

    def after_step(self, at: At, *seen: Tensor) -> None:
        index, z, near = (dist.all_gather_rows(x, equal=True) for x in seen)
        m = self.recipe.memory_momentum
        self.graph[index] = near.int()
        self.bank[index] = F.normalize(m * self.bank[index] + (1 - m) * z)

    def epoch_diagnostics(self, data: TrainingData, at: At, last: Loss) -> dict[str, float | str]:
        """effective_rank of the bank; graph_labels: share of the edges between images of one class."""
        rank = float(health.effective_rank(self.bank))
        figures: dict[str, float | str] = {"effective_rank": rank}
        if data.labels is not None:
            same = data.labels[self.graph.long()] == data.labels[:, None]
            figures["graph_labels"] = float(same.float().mean())
        if rank < health.RANK:
            figures["warning"] = f"features collapse: effective rank {rank:.2f}; {ADVICE}"
        return figures

    def check(self) -> None:
        n = len(self.bank)
        assert 0 <= int(self.graph.min()) <= int(self.graph.max()) < n, "a neighbour is no image"
        assert bool(self.bank.isfinite().all()), "a feature is not finite"


@torch.no_grad()
def nearest(z: Tensor, bank: Tensor, count: int, tile: int = TILE) -> Tensor:
    """Ids int64 (b, count) of the rows of bank (N, D) whose products with z (b, D) are largest, in order."""
    best, ids = z.new_empty(len(z), 0), torch.empty(len(z), 0, dtype=torch.int64, device=z.device)
    with matmul_precision("fp32"):
        for first in range(0, len(bank), tile):
            score = z @ bank[first : first + tile].T
            place = torch.arange(first, first + score.shape[1], device=z.device).expand(len(z), -1)
            score, place = torch.cat([best, score], 1), torch.cat([ids, place], 1)
            best, at = score.topk(min(count, score.shape[1]))
            ids = place.gather(1, at)
    return ids


def others(near: Tensor, index: Tensor) -> Tensor:
    """The first k ids of near (b, k + 1) without the image's own, whose place the last one takes."""
    return torch.where(near == index[:, None], near[:, -1:], near)[:, :-1]


def reach(graph: Tensor, index: Tensor, layers: int) -> Tensor:
    """Ends int64 (b, k + k^2 + ...) of ways of up to `layers` steps from index (b,) through graph (N, k)."""
    front = index[:, None]
    found = list[Tensor]()
    for _ in range(layers):
        front = graph[front].flatten(1).long()
        found.append(front)
    return torch.cat(found, 1)


def _neck(inside: int, recipe: InvariancePropagationRecipe) -> nn.Sequential:
    """Two linear layers with Xavier's initialisation."""
    first, second = nn.Linear(inside, recipe.hidden), nn.Linear(recipe.hidden, recipe.dim)
    for layer in (first, second):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    if recipe.head_bn:
        norms = nn.BatchNorm1d(recipe.hidden), nn.BatchNorm1d(recipe.dim, affine=False)
        return nn.Sequential(first, norms[0], nn.ReLU(inplace=True), second, norms[1], heads.Unit())
    return nn.Sequential(first, nn.ReLU(inplace=True), second, heads.Unit())
