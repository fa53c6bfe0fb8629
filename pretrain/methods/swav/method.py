"""SwAV (Caron et al., NeurIPS 2020, arXiv 2006.09882): the codes of one view are predicted from the others.

    s_vb = C z_vb                                 unit features z (V, B, D), unit prototypes C (K, D)
    q_a  = Sinkhorn(exp(s_a / epsilon))           codes of assignment views a, equal shares of a batch
    loss = mean_a mean_{v != a} -sum_k q_abk log softmax_k(s_vb / T)

V views, B batch over all processes, D dimensions, K prototypes. The queue holds features of earlier batches
so that Sinkhorn sees enough rows where the batch is small; it is a ring buffer, the same on every process,
and each process scores its share of it. Labels, kept for diagnostics alone, are the largest code of the first
view.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.base import dist
from pretrain.base.numerics import exact
from pretrain.cluster import agreement, health
from pretrain.cluster.codes import sinkhorn, swapped_loss
from pretrain.data.loader import Batch
from pretrain.methods.swav.recipes import SwAVRecipe
from pretrain.nets import archs, heads
from pretrain.nets.clusters import Clustering, projection
from pretrain.train.method import At, Loss, Method, TrainingData, share

ADVICE = "try a lower epsilon, a longer freeze, a lower learning rate, or a shorter or later queue"


class SwAV(Method):
    """Backbone, projector onto the unit sphere, prototypes."""

    net: heads.Network
    queue: Tensor  # features (A, length, D) of earlier batches, oldest overwritten first
    labels: Tensor  # int32 (N,), -1: not seen yet
    previous: Tensor  # at the end of the last epoch

    def __init__(self, recipe: SwAVRecipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        self.recipe, self.per_epoch = recipe, recipe.per_epoch(n)
        backbone = archs.build(recipe.arch, recipe.input, seed)
        neck = heads.projector(backbone.dim, recipe.hidden, recipe.dim)
        self.net = heads.Network(backbone, neck, Prototypes(recipe.prototypes, recipe.dim))
        length = recipe.queue // recipe.batch_size * recipe.batch_size
        self.register_buffer("queue", torch.zeros(recipe.assign_views, length, recipe.dim))
        self.register_buffer("labels", torch.full((n,), -1, dtype=torch.int32))
        self.register_buffer("previous", self.labels.clone())

    @property
    def prototypes(self) -> Prototypes:
        """The head: K trained directions."""
        assert isinstance(self.net.head, Prototypes)
        return self.net.head

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        """Cross-entropy between the codes of each assignment view and the predictions of all other views."""
        recipe, b = self.recipe, len(batch.index)
        with torch.no_grad():
            self.prototypes.weight.copy_(F.normalize(self.prototypes.weight))
        z, scores = net(batch.views)
        z, s = z.view(-1, b, z.shape[1]), scores.view(-1, b, scores.shape[1])
        with exact(self.device):
            q = self.codes(s[: recipe.assign_views], at)
            value = swapped_loss(s, q, recipe.temperature)
        return Loss(value, (batch.index, z[: recipe.assign_views].detach(), q[0].argmax(1).int()))

    def clustering(self) -> Clustering:
        """The projector and the prototypes, at unit length as every step takes them."""
        unit = F.normalize(self.prototypes.weight.detach())
        return Clustering("cosine", unit[None], projection(self.net.neck))

    def codes(self, scores: Tensor, at: At) -> Tensor:
        """Codes (A, b, K) of this process's rows of a batch
        from their scores, the queue's rows taking part.
        """
        with torch.no_grad():
            rows = torch.cat([self._queued(at) @ self.prototypes.weight.T, scores], 1)
            codes = sinkhorn(rows, self.recipe.epsilon, self.recipe.sinkhorn_iterations)
            return codes[:, -scores.shape[1] :]

    def pushed(self, at: At) -> int:
        """Features per view that have entered the queue before a
        step: whole batches from epoch `queue_from` on.
        """
        steps = at.step - self.recipe.queue_from * self.per_epoch
        return max(0, steps) * self.recipe.batch_size if self.queue.shape[1] else 0

    def _queued(self, at: At) -> Tensor:
        """This process's share of the queue (A, l, D): empty until the queue is full."""
        length = self.queue.shape[1]
        slots = share(length if self.pushed(at) >= length else 0, dist.rank(), dist.world_size())
        first = int(slots[0]) if len(slots) else 0
        return self.queue[:, first : first + len(slots)]

    def before_step(self, at: At, optimizer: torch.optim.Optimizer) -> None:
        if at.step < self.recipe.freeze:
            self.prototypes.weight.grad = None

    def after_step(self, at: At, *seen: Tensor) -> None:
        index, z, code = seen
        self.labels[dist.all_gather_rows(index, equal=True)] = dist.all_gather_rows(code, equal=True)
        if self.queue.shape[1] and at.epoch >= self.recipe.queue_from:
            every = dist.all_gather_rows(z.transpose(0, 1).contiguous(), equal=True).transpose(0, 1)
            first = self.pushed(at) % self.queue.shape[1]  # a multiple of the batch, as the length is
            self.queue[:, first : first + every.shape[1]] = every

    def epoch_diagnostics(self, data: TrainingData, at: At, last: Loss) -> dict[str, float | str]:
        counts = torch.bincount(self.labels[self.labels >= 0], minlength=self.recipe.prototypes)
        _, z, _ = last.seen
        late = (
            4 * (at.step + 1) > self.recipe.epochs * self.per_epoch
        )  # before, equal predictions are no alarm
        stuck = health.stuck(float(last.value.detach()), self.recipe.prototypes, ADVICE) if late else {}
        rank = float(health.effective_rank(z.flatten(0, 1)))
        figures = health.sizes(counts) | agreement.compare(self.labels, self.previous, data.labels)
        return {**figures, "effective_rank": rank, **health.warning(counts, rank, ADVICE), **stuck}

    def after_epoch(self, epoch: int) -> None:
        self.previous = self.labels.clone()


class Prototypes(nn.Module):
    """Inner products with K trained prototypes: (B, D) -> (B, K), fp32 whatever the precision around it.

    A score of 1 rounded to bf16 is off by up to 0.004, which a temperature of 0.05 turns into 8 % of its
    exponential.
    """

    def __init__(self, outside: int, inside: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            F.normalize(torch.rand(outside, inside) * 2 - 1)
        )  # directions of a linear layer

    def forward(self, z: Tensor) -> Tensor:
        with exact(z.device):
            return z.float() @ self.weight.T
