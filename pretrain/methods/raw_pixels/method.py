"""The images as they are, with no epochs to train: a floor beside the untrained network.

Features below it have lost more than they gained.
"""

from __future__ import annotations

from torch import nn

from pretrain.data.loader import Batch
from pretrain.nets import archs
from pretrain.train.method import At, Loss, Method
from pretrain.train.recipe import Recipe


class RawPixels(Method):
    """A backbone that hands on what it gets."""

    def __init__(self, recipe: Recipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        self.net = archs.build(recipe.arch, recipe.input, seed)

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        raise AssertionError("there is nothing to train: the recipe has 0 epochs")
