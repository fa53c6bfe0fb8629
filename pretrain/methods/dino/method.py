"""DINO (Caron et al., ICCV 2021, arXiv 2104.14294): every view predicts what a slow network makes of others.

    s_vb = C z_vb,  t_ab = C' z'_ab               unit features z (V, B, D), unit directions C (K, D)
    q_ab = softmax((t_ab - c) / T')               centred and sharpened: of the first views a alone
    loss = mean_a mean_{v != a} -sum_k q_abk log softmax_k(s_vb / T)
    c <- m c + (1 - m) mean_ab t_ab               after the loss, over all processes

or q = Sinkhorn(exp(t / T')), equal shares of a batch as in SwAV, where the recipe says so (section 5.1).

The teacher, see nets/teacher, is a copy of the whole network, and its backbone is what is kept. Centring
alone would make all outputs equal, sharpening alone would leave one of them. Neighbouring views of one size
share batch-norm statistics. V views, B batch, D dimensions, K outputs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.base import dist
from pretrain.base.numerics import exact
from pretrain.cluster import health
from pretrain.cluster.codes import sinkhorn, swapped_loss
from pretrain.data.loader import Batch
from pretrain.methods.dino.recipes import DINORecipe
from pretrain.nets import archs, heads
from pretrain.nets.backbone import Backbone
from pretrain.nets.teacher import Teacher, rising
from pretrain.train.method import At, Loss, Method, TrainingData

ADVICE = "try a lower teacher_temperature, a teacher_momentum nearer to 1, or a lower learning rate"


class DINO(Method):
    """Backbone, three layers onto the unit sphere, directions, and their teacher."""

    net: heads.Network
    centre: Tensor  # c (K,)

    def __init__(self, recipe: DINORecipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        self.recipe, self.seed, self.steps = recipe, seed, recipe.epochs * recipe.per_epoch(n)
        backbone = archs.build(recipe.arch, recipe.input, seed)
        self.net = heads.Network(
            backbone, _layers(backbone.dim, recipe), Directions(recipe.prototypes, recipe.dim)
        )
        self.teacher = Teacher(self.net)
        self.register_buffer("centre", torch.zeros(recipe.prototypes))

    def start(self, data: TrainingData) -> None:
        self.teacher.follow(self.net, 0.0)  # heads were drawn anew on every process, until now

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        """Cross-entropy of all views to the teacher's outputs of others; `seen`: those, q and z."""
        recipe, b = self.recipe, len(batch.index)
        _, t = self.teacher.forward(self.net, batch.views[: recipe.teacher_views])
        z, s = net(batch.views)
        with exact(self.device):
            q = self.taught(t, at.epoch)
            value = swapped_loss(s.view(-1, b, s.shape[1]), q.view(-1, b, q.shape[1]), recipe.temperature)
        return Loss(value, (t, q, z.detach()))

    def taught(self, t: Tensor, epoch: int) -> Tensor:
        """Shares q (A b, K) of the teacher's outputs t (A b, K)."""
        temperature, iterations = self.teacher_temperature(epoch), self.recipe.sinkhorn_iterations
        if not iterations:
            return ((t - self.centre) / temperature).softmax(1)
        views = t.view(self.recipe.teacher_views, -1, t.shape[1])
        return sinkhorn(views, temperature, iterations).flatten(0, 1).to(t.dtype)

    def teacher_temperature(self, epoch: int) -> float:
        """T' of an epoch: on a line from the first one, then constant."""
        first, last, epochs = (
            self.recipe.first_temperature, self.recipe.teacher_temperature, self.recipe.temperature_epochs
        )  # fmt: skip
        return last if epoch >= epochs - 1 else first + (last - first) * epoch / (epochs - 1)

    def before_step(self, at: At, optimizer: torch.optim.Optimizer) -> None:
        if self.recipe.clip:
            clip_each_([p.grad for p in self.net.parameters() if p.grad is not None], self.recipe.clip)
        if at.epoch < self.recipe.freeze_epochs:
            self.net.head.zero_grad()

    def after_step(self, at: At, *seen: Tensor) -> None:
        mean = dist.all_reduce_sum_(seen[0].float().mean(0)) / dist.world_size()
        self.centre.lerp_(mean, 1 - self.recipe.centre_momentum)
        self.teacher.follow(self.net, rising(self.recipe.teacher_momentum, at.step / self.steps))

    def groups(self) -> list[dict[str, Any]]:
        """Biases and batch norms do not decay."""
        flat, deep = ([p for p in self.net.parameters() if (p.ndim < 2) == one] for one in (True, False))
        return [{"params": deep}, {"params": flat, "weight_decay": 0.0}]

    def epoch_diagnostics(self, data: TrainingData, at: At, last: Loss) -> dict[str, float | str]:
        late = 4 * (at.step + 1) > self.steps  # before, equal predictions are no alarm
        stuck = health.stuck(float(last.value.detach()), self.recipe.prototypes, ADVICE) if late else {}
        _, q, z = last.seen
        return {**outputs(q), **health.of_features(z, ADVICE), **stuck}

    @property
    def result(self) -> Backbone:
        made = archs.build(self.recipe.arch, self.recipe.input, self.seed)
        own = self.teacher.tensors()
        made.load_state_dict({name: own[f"backbone.{name}"] for name in made.state_dict()})
        return made.to(self.device)


class Directions(nn.Module):
    """Inner products with K directions of trained weights: (B, D) -> (B, K), fp32 whatever the precision
    around it, as a temperature of 0.04 makes much of a rounding.
    """

    def __init__(self, outside: int, inside: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Linear(inside, outside, bias=False).weight.detach())

    def forward(self, z: Tensor) -> Tensor:
        with exact(z.device):
            return F.linear(z.to(self.weight.dtype), F.normalize(self.weight))


def outputs(q: Tensor) -> dict[str, float]:
    """How many outputs share an image, and how many all of the images, by shares q (n, K): exp(entropy) of
    each row, in the geometric mean, and of the mean row. K and K: all are equal; 1 and 1: one takes all.
    """
    each, every = torch.special.entr(q).sum(1).mean(), torch.special.entr(q.mean(0)).sum()
    return {"outputs_of_an_image": float(each.exp()), "outputs_in_use": float(every.exp())}


def clip_each_(grads: list[Tensor], largest: float) -> None:
    """Scales every gradient whose norm is above `largest` down to it, in place. Norms stay on the device."""
    norms = torch.stack(list(torch._foreach_norm(grads)))
    torch._foreach_mul_(grads, list((largest / (norms + 1e-6)).clamp_max(1).unbind()))


def _layers(inside: int, recipe: DINORecipe) -> nn.Sequential:
    """Three linear layers with GELU between them, onto the unit sphere."""
    made = list[nn.Module]()
    for width in (inside, recipe.hidden):
        made.append(heads.linear(width, recipe.hidden, 0.02))
        made += [nn.BatchNorm1d(recipe.hidden)] if recipe.head_bn else []
        made.append(nn.GELU())
    made.append(heads.linear(recipe.hidden, recipe.dim, 0.02))
    made += [nn.BatchNorm1d(recipe.dim, affine=False)] if recipe.head_bn else []
    return nn.Sequential(*made, heads.Unit())
