"""The untrained backbone, Kaiming initialisation: the floor that every method must beat.

Near-random numbers under a method's name mean that its weights were not loaded.
"""

from __future__ import annotations

from torch import nn

from pretrain.data.loader import Batch
from pretrain.nets import archs
from pretrain.train.method import At, Loss, Method
from pretrain.train.recipe import Recipe


class Random(Method):
    """A backbone whose recipe has no epochs."""

    def __init__(self, recipe: Recipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        self.net = archs.build(recipe.arch, recipe.input, seed)

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        raise AssertionError("the random entry is not trained: its recipe has 0 epochs")
