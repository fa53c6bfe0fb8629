"""MoCo v2 (Chen et al. 2020, arXiv 2003.04297; He et al., CVPR 2020): a dictionary of slow features.

    q = f(first view),  k = f'(second view)             unit features (b, D); f' follows f, see nets/teacher
    loss = -log exp(q . k / T) / (exp(q . k / T) + sum_n exp(q . Q_n / T))

The queue Q (K, D) holds the keys of earlier batches, a ring buffer, the same on every process.

Shuffled batch norm: were q and k normalised with the same images, their statistics would tell which key is
the right one. Statistics are over groups of `bn_group` neighbouring images of a batch, on any number of
processes. So f' gets the second views of the whole batch in an order drawn anew for every step, and its keys
are put back: k is normalised with images from anywhere in the batch. In one group of the whole batch an order
changes nothing, and none is drawn. B batch over all processes, b of one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.base import dist
from pretrain.base.numerics import exact
from pretrain.cluster import health
from pretrain.data.loader import Batch
from pretrain.methods.mocov2.recipes import MoCoRecipe
from pretrain.nets import archs, heads
from pretrain.nets.teacher import Teacher
from pretrain.train.method import At, Loss, Method, TrainingData, derive

ADVICE = "try a lower learning rate, a longer queue, or a bn_group below batch_size"


class MoCo(Method):
    """Backbone, two layers onto the unit sphere, and their teacher."""

    net: heads.Network
    queue: Tensor  # Q (K, D), unit rows, the oldest overwritten first

    def __init__(self, recipe: MoCoRecipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        self.recipe, self.seed = recipe, seed
        backbone = archs.build(recipe.arch, recipe.input, seed)
        self.net = heads.Network(backbone, _layers(backbone.dim, recipe), nn.Identity())
        self.teacher = Teacher(self.net)
        generator = torch.Generator().manual_seed(derive(seed, 1))  # the same on every process
        queue = torch.randn(recipe.queue, recipe.dim, generator=generator)
        self.register_buffer("queue", F.normalize(queue))

    def start(self, data: TrainingData) -> None:
        self.teacher.follow(self.net, 0.0)  # heads were drawn anew on every process, until now

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        """Of the queries to tell their keys from the queue; `seen` are the keys."""
        q, _ = net(batch.views[:1])
        k = self.keys(batch.views[1], at)
        with exact(self.device):
            value = contrast(q, k, self.queue, self.recipe.temperature)
        return Loss(value, (k,))

    @torch.no_grad()
    def keys(self, view: Tensor, at: At) -> Tensor:
        """Keys (b, D) of a view (b, 3, S, S) of this process's images, whose batch norms see others."""
        if not self.recipe.bn_group:
            return self._taught(view)
        order = self.shuffled(at).to(view.device)
        mine = slice(dist.rank() * len(view), (dist.rank() + 1) * len(view))
        mixed = dist.all_gather_rows(view, equal=True)[order[mine]]
        made = self._taught(mixed.contiguous(memory_format=torch.channels_last))
        return dist.all_gather_rows(made, equal=True)[order.argsort()[mine]]

    def _taught(self, view: Tensor) -> Tensor:
        keys, _ = self.teacher.forward(self.net, [view])
        return keys

    def shuffled(self, at: At) -> Tensor:
        """The order int64 (B,) of a step's keys, the same on every process."""
        generator = torch.Generator().manual_seed(derive(self.seed, 2, at.step))
        return torch.randperm(self.recipe.batch_size, generator=generator)

    def after_step(self, at: At, *seen: Tensor) -> None:
        keys = dist.all_gather_rows(seen[0], equal=True)
        place = at.step * len(keys) + torch.arange(len(keys), device=keys.device)
        self.queue[place % len(self.queue)] = keys
        self.teacher.follow(self.net, self.recipe.teacher_momentum)

    def epoch_diagnostics(self, data: TrainingData, at: At, last: Loss) -> dict[str, float | str]:
        return health.of_features(self.queue, ADVICE)

    def check(self) -> None:
        assert bool(((self.queue.norm(dim=1) - 1).abs() < 1e-3).all()), "a key has not unit length"


def contrast(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Mean loss of queries q (b, D) to find their keys k (b, D) before those of a queue (K, D): InfoNCE."""
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64, device=q.device))


def _layers(inside: int, recipe: MoCoRecipe) -> nn.Sequential:
    """Two linear layers onto the unit sphere."""
    first, second = nn.Linear(inside, recipe.hidden), nn.Linear(recipe.hidden, recipe.dim)
    if not recipe.head_bn:
        return nn.Sequential(first, nn.ReLU(inplace=True), second, heads.Unit())
    norms = nn.BatchNorm1d(recipe.hidden), nn.BatchNorm1d(recipe.dim, affine=False)
    return nn.Sequential(first, norms[0], nn.ReLU(inplace=True), second, norms[1], heads.Unit())
