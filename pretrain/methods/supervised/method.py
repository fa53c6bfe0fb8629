"""Cross-entropy on the true labels: the reference row above the self-supervised ones.

Recipe of torchvision's reference training of ResNet-50 (He et al., CVPR 2016): 90 epochs, 0.1 at batch 256, a
tenth after every 30.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.data.loader import Batch
from pretrain.methods.supervised.recipes import SupervisedRecipe
from pretrain.nets import archs, heads
from pretrain.train.method import At, Loss, Method, TrainingData


class Supervised(Method):
    """Backbone and linear classifier."""

    net: heads.Network
    labels: Tensor  # int64 (N,)

    def __init__(self, recipe: SupervisedRecipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        backbone = archs.build(recipe.arch, recipe.input, seed)
        self.net = heads.Network(
            backbone, nn.Identity(), heads.linear(backbone.dim, recipe.classes, std=0.01)
        )
        self.register_buffer("labels", torch.zeros(n, dtype=torch.int64))

    def start(self, data: TrainingData) -> None:
        assert data.labels is not None, "SupervisedRecipe.fits has let images without labels pass"
        self.labels = data.labels.clone()

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        _, logits = net(batch.views)
        return Loss(F.cross_entropy(logits.float(), self.labels[batch.index].repeat(len(batch.views))))
