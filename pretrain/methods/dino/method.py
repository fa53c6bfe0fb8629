"""DINO (Caron et al., ICCV 2021, arXiv 2104.14294): a student predicts the outputs of its slow copy.

    s_v = W unit(h(f(view v))),  t_w = the teacher's s_w          outputs (b, K), rows of W of unit length
    q_w = softmax((t_w - c) / T')                                 w of the first two views, which are large
    loss = mean_w mean_{v != w} -q_w . log softmax(s_v / T)
    then     c <- m c + (1 - m) mean of all t_w of the batch

The centre c keeps one output from winning, the low temperature T' keeps all from being equal. The teacher,
see nets/teacher, is also what is saved: its features are a little better than the student's. W rests for the
first epochs.

b images of a process, V views, K outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.base import dist
from pretrain.cluster import health
from pretrain.data.loader import Batch
from pretrain.methods.dino.recipes import TAUGHT, DINORecipe
from pretrain.nets import archs, heads
from pretrain.nets.backbone import Backbone
from pretrain.nets.teacher import Teacher, rising
from pretrain.train.method import At, Loss, Method, TrainingData, autocast

ADVICE = "try a lower teacher_end or learning rate, a longer freeze, or a teacher_momentum nearer to 1"


class DINO(Method):
    """Backbone, three layers onto the unit sphere, the outputs, and a teacher of all of them."""

    net: heads.Network
    centre: Tensor  # c (K,)

    def __init__(self, recipe: DINORecipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        self.recipe, self.steps, self.seed = recipe, recipe.epochs * recipe.per_epoch(n), seed
        backbone = archs.build(recipe.arch, recipe.input, seed)
        self.net = heads.Network(backbone, _layers(backbone.dim, recipe), Outputs(recipe.outputs, recipe.dim))
        self.teacher = Teacher(self.net)
        self.register_buffer("centre", torch.zeros(recipe.outputs))

    @property
    def kept(self) -> Backbone:
        """The teacher's."""
        made = archs.build(self.recipe.arch, self.recipe.input, self.seed)
        ours = self.teacher.tensors("backbone.")
        made.load_state_dict({name: ours[name] for name in made.state_dict()})
        return made.to(self.device)

    def start(self, data: TrainingData) -> None:
        self.teacher.follow(self.net, 0.0)  # heads were drawn anew on every process, until now

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        """Of every view to predict the large ones; `seen` are the mean of the teacher's outputs and its
        features.
        """
        b = len(batch.index)
        _, s = net(batch.views)
        z, t = self.teacher.forward(self.net, batch.views[:TAUGHT])
        with autocast(self.device, "fp32"):
            target = ((t - self.centre) / self.sharpness(at.epoch)).softmax(1)
            s, target = s.view(-1, b, s.shape[1]), target.view(TAUGHT, b, -1)
            value = taught_loss(s / self.recipe.temperature, target)
        return Loss(value, (t.mean(0), z))

    def sharpness(self, epoch: int) -> float:
        """The teacher's temperature in an epoch (from 0)."""
        recipe = self.recipe
        done = min(1.0, epoch / max(1, recipe.teacher_warmup - 1)) if recipe.teacher_warmup else 1.0
        return recipe.teacher_start + done * (recipe.teacher_end - recipe.teacher_start)

    def before_step(self, at: At, optimizer: torch.optim.Optimizer) -> None:
        if at.epoch < self.recipe.freeze:
            for weight in self.net.head.parameters():
                weight.grad = None

    def after_step(self, at: At, *seen: Tensor) -> None:
        mean = dist.all_reduce_sum_(seen[0].clone()) / dist.world_size()
        self.centre.lerp_(mean, 1 - self.recipe.centre_momentum)
        self.teacher.follow(self.net, rising(self.recipe.teacher_momentum, at.step / self.steps))

    def epoch_diagnostics(self, data: TrainingData, at: At, last: Loss) -> dict[str, float | str]:
        return health.of_features(last.seen[1], ADVICE)


class Outputs(nn.Module):
    """Inner products with K trained directions, of any length: (B, D) -> (B, K), fp32 whatever the precision
    around it, since a low temperature follows.
    """

    def __init__(self, outside: int, inside: int) -> None:
        super().__init__()
        reach = inside**-0.5  # as a linear layer's
        self.weight = nn.Parameter((torch.rand(outside, inside) * 2 - 1) * reach)

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return z.float() @ F.normalize(self.weight.float()).T


def taught_loss(s: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of logits s (V, b, K) to targets (2, b, K) over all pairs of different views."""
    each = -torch.einsum("wbk,vbk->wv", target, s.log_softmax(2)) / s.shape[1]
    other = 1 - torch.eye(len(target), len(s), device=s.device)
    return (each * other).sum() / other.sum()


def _layers(inside: int, recipe: DINORecipe) -> nn.Sequential:
    """Two hidden layers and a third one onto the unit sphere; weights of std 0.02."""
    layers: list[nn.Module] = []
    for width in (inside, recipe.hidden):
        norm = [nn.BatchNorm1d(recipe.hidden)] if recipe.head_bn else []
        layers += [nn.Linear(width, recipe.hidden), *norm, nn.GELU()]
    layers.append(nn.Linear(recipe.hidden, recipe.dim))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers, heads.Unit())
