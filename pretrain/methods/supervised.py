"""Cross-entropy on the true labels: the reference row above the self-supervised ones.

Recipe of torchvision's reference training of ResNet-50 (He et al., CVPR 2016): 90 epochs, 0.1 at batch 256, a tenth
after every 30.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pretrain.faults import Fault
from pretrain.lazy import F, backbone, network, torch
from pretrain.method import Data, Method
from pretrain.recipe import Input, Recipe, Step, View

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pretrain.loader import Batch


@dataclass(frozen=True, kw_only=True)
class SupervisedRecipe(Recipe):
    """classes: of the data set."""

    classes: int = 1000


class Supervised(Method):
    """Backbone and linear classifier."""

    def __init__(self, recipe: SupervisedRecipe, n: int, device: torch.device, seed: int) -> None:
        self.recipe = recipe
        self.backbone = backbone.build(recipe.arch, recipe.input, seed)
        head = network.linear(self.backbone.dim, recipe.classes, std=0.01)
        self.net = network.Network(self.backbone, torch.nn.Identity(), head)
        self.labels = torch.zeros(n, dtype=torch.int64, device=device)

    def start(self, data: Data) -> None:
        where = f"{self.recipe.name} on {data.split.name}"
        if data.labels is None:
            raise Fault("bad-config", f"{where}: it has no labels of single classes to learn; choose a set that has")
        if (classes := int(data.labels.max()) + 1) > self.recipe.classes:
            raise Fault("bad-config", f"{where}: it has {classes} classes, not {self.recipe.classes}; set 'classes'")
        self.labels = data.labels.clone()

    def loss(self, net: nn.Module, batch: Batch) -> Tensor:
        _, logits = net(batch.views)
        return F.cross_entropy(logits.float(), self.labels[batch.index].repeat(len(batch.views)))

    def state(self) -> dict[str, Tensor]:
        return {"labels": self.labels}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.labels = state["labels"]


PAPER = (
    SupervisedRecipe(
        name="supervised_resnet50_8xb32-steplr-90e_in1k",
        arch="resnet50",
        input=Input(size=224, resize=256),
        views=(View(size=224),),
        epochs=90,
        batch_size=256,
        lr=0.1,
        weight_decay=1e-4,
        schedule=Step(milestones=(30, 60)),
    ),
)
DEMO = (
    replace(
        PAPER[0],
        name="supervised_resnet10-narrow_demo",
        arch="resnet10_narrow",
        input=Input(size=32, resize=32),
        views=(View(size=32, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2, mix=0.5),),
        epochs=20,
        batch_size=128,
        schedule=Step(milestones=(10, 17)),
        classes=10,
    ),
)
SMOKE = (
    replace(
        DEMO[0],
        name="supervised_resnet10-narrow_smoke",
        epochs=6,
        batch_size=64,
        schedule=Step(milestones=(5,)),
    ),
)
