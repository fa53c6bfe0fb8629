"""Recipes of Invariance Propagation. No torch here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pretrain.base.settings import Count, Positive, Rate, changed, settings
from pretrain.data.view import Input, View
from pretrain.train.recipe import EpochCosine, Recipe, in_bf16

TITLE = "Invariance Propagation"
SUMMARY = "hard positives from neighbours of neighbours in a memory bank (Wang et al., NeurIPS 2020, arXiv 2010.11694)"


@settings
class InvariancePropagationRecipe(Recipe):
    """Invariance Propagation's constants; defaults are those of its command for ImageNet.

    memory_momentum: of the old feature in the bank; background: nearest images, which stand for all;
    neighbours, layers: of the graph, and steps through it; positives: the least similar images that are
    reached; positive_weight: of their loss, which begins at epoch `propagate_from`;
    head_bn: whether batch norm follows both layers of the head, the last one without scale and shift; the
    paper's head has none.
    """

    dim: Positive = 128  # D
    hidden: Positive = 2048
    temperature: Annotated[float, Field(ge=0.02)] = 0.2
    memory_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    background: Annotated[int, Field(ge=2)] = 4096
    neighbours: Positive = 4
    layers: Positive = 3
    positives: Positive = 50
    positive_weight: Rate = 0.6
    propagate_from: Count = 30
    head_bn: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crops != 1:
            raise ValueError(f"views: a step sees one view of an image, not {self.crops}")
        if self.neighbours >= self.background:
            said = f"{self.neighbours} are not fewer than the {self.background} of the background"
            raise ValueError(f"neighbours: {said}; lower one or raise the other")

    def unreached(self) -> list[str]:
        if self.propagate_from < self.epochs:
            return []
        said = f"is after the last of {self.epochs} epochs: nothing is propagated"
        return [f"propagate_from {self.propagate_from} {said}"]

    def fits(self, images: int, classes: int) -> None:
        super().fits(images, classes)
        if images < self.background:
            said = f"the {self.background} nearest images cannot be found among {images}; lower 'background'"
            raise self.misfit(said)

    def kept(self, images: int) -> int:
        return 4 * images * (self.dim + self.neighbours)

    def beside(self, images: int) -> tuple[float, float]:
        return images, 2.0 * images * images * self.dim * self.epochs

    def techniques(self) -> list[str]:
        return [TITLE, "Memory bank", "Hard positives from a k-NN graph", *super().techniques()]


_RELEASED = InvariancePropagationRecipe(
    name="rn50_in1k_invp_800ep",
    arch="resnet50",
    input=Input(size=224, resize=256),
    views=(View(size=224, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, gray=0.2, blur=0.5),),
    epochs=799,  # the released loop counts from 1 to 799
    batch_size=128,
    tail="pad",
    lr=0.03,
    weight_decay=1e-4,
    schedule=EpochCosine(),
    precision="fp32",
    bn_group=32,  # those of one of four GPUs
)
PAPER = (_RELEASED, in_bf16(_RELEASED))
DEMO = (
    changed(
        _RELEASED,
        name="invp_resnet10-narrow_demo",
        config="sobel_resnet10-narrow",
        arch="resnet10_narrow",
        # Edges: the untrained network finds an image again by its colours, which the views change.
        input=Input(size=32, resize=32, sobel=True),
        views=(View(size=32, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2, mix=0.5),),
        epochs=60,
        batch_size=64,
        tail="drop",
        lr=0.06,
        precision="bf16",
        bn_group=0,
        dim=64,
        hidden=256,
        temperature=0.1,
        background=512,
        positives=20,
        propagate_from=20,
        head_bn=True,  # a narrow cone of features, as an untrained network's are, does not open without
    ),
)
PHOTOS = (
    changed(
        DEMO[0],
        name="invp_resnet10-narrow_photos",
        config="resnet10-narrow",
        input=Input(size=32, resize=36),
        views=(View(size=32, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.8, 0.2), gray=0.2, mix=0.3),),
        epochs=130,
        background=256,  # few photographs train, too
        propagate_from=25,
        adapts=("batch_size", "lr", "epochs"),
    ),
)
SMOKE = (
    changed(
        DEMO[0],
        name="invp_resnet10-narrow_smoke",
        epochs=6,
        background=32,
        propagate_from=2,
    ),
)
