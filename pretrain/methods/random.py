"""The untrained backbone, Kaiming initialisation: the floor that every method must beat.

Near-random numbers under a method's name mean that its weights were not loaded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pretrain.lazy import backbone
from pretrain.method import Method
from pretrain.recipe import Input, Recipe, View

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pretrain.loader import Batch


class Random(Method):
    """A backbone whose recipe has no epochs."""

    def __init__(self, recipe: Recipe, n: int, device: torch.device, seed: int) -> None:
        self.backbone = self.net = backbone.build(recipe.arch, recipe.input, seed)

    def loss(self, net: nn.Module, batch: Batch) -> Tensor:
        raise AssertionError("the random entry is not trained: its recipe has 0 epochs")


PAPER = (
    Recipe(
        name="random_resnet50",
        arch="resnet50",
        input=Input(size=224, resize=256),
        views=(View(size=224),),
        epochs=0,
        batch_size=1,
        lr=0.0,
        weight_decay=0.0,
    ),
)
DEMO = (
    replace(
        PAPER[0],
        name="random_resnet10-narrow_demo",
        arch="resnet10_narrow",
        input=Input(size=32, resize=32),
        views=(View(size=32),),
    ),
)
SMOKE = (replace(DEMO[0], name="random_resnet10-narrow_smoke"),)
