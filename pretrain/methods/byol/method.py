"""BYOL (Grill et al., NeurIPS 2020, arXiv 2006.07733): a view predicts what a slow network makes of another.

    p_v = unit(prediction(z_v)),  z = projection(f(view v)),  z'_w = unit of the teacher's z of view w
    loss = mean over images of sum_{v != w} 2 - 2 p_v . z'_w              from 0 to 8

There are no negatives. The teacher, see nets/teacher, has a backbone and a projection; its momentum rises to
1 by half a cosine. Every view passes alone: views share no batch-norm statistics.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.base.numerics import exact
from pretrain.cluster import health
from pretrain.data.loader import Batch
from pretrain.methods.byol.recipes import BYOLRecipe
from pretrain.nets import archs, heads
from pretrain.nets.teacher import Teacher, rising
from pretrain.train.method import At, Loss, Method, TrainingData

ADVICE = "try a lower learning rate, a teacher_momentum nearer to 1, or a larger batch"


class BYOL(Method):
    """Backbone, projector and predictor, and a teacher without a predictor."""

    net: heads.Apart

    def __init__(self, recipe: BYOLRecipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        self.recipe, self.steps = recipe, recipe.epochs * recipe.per_epoch(n)
        backbone = archs.build(recipe.arch, recipe.input, seed)
        neck = _layers(backbone.dim, recipe)
        self.net = heads.Apart(backbone, neck, _layers(recipe.dim, recipe))
        self.teacher = Teacher(self.projecting)

    @property
    def projecting(self) -> heads.Apart:
        """The part of the network that the teacher has, too."""
        return heads.Apart(self.net.backbone, self.net.neck, nn.Identity())

    def start(self, data: TrainingData) -> None:
        self.teacher.follow(self.projecting, 0.0)  # heads were drawn anew on every process, until now

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        """Of both views to predict the other one's projection; `seen` are the teacher's projections."""
        _, p = net(batch.views)
        z, _ = self.teacher.forward(self.projecting, batch.views)
        with exact(self.device):
            value = prediction_loss(p.float(), z.float())
        return Loss(value, (z,))

    def after_step(self, at: At, *seen: Tensor) -> None:
        momentum = rising(self.recipe.teacher_momentum, at.step / self.steps)
        self.teacher.follow(self.projecting, momentum)

    def epoch_diagnostics(self, data: TrainingData, at: At, last: Loss) -> dict[str, float | str]:
        return health.of_features(last.seen[0], ADVICE)


def prediction_loss(p: Tensor, z: Tensor) -> Tensor:
    """Mean over images of the squared distances, as unit vectors, of predictions p (2b, D) and projections z
    (2b, D) of the other view; both have the first views of b images and then the second ones.
    """
    cosine = (F.normalize(p) * F.normalize(z).roll(len(z) // 2, 0)).sum(1)
    return 2 * (2 - 2 * cosine).mean()


def _layers(inside: int, recipe: BYOLRecipe) -> nn.Sequential:
    """Two linear layers with batch norm between them: projector and predictor."""
    first, second = nn.Linear(inside, recipe.hidden), nn.Linear(recipe.hidden, recipe.dim)
    return nn.Sequential(first, nn.BatchNorm1d(recipe.hidden), nn.ReLU(inplace=True), second)
