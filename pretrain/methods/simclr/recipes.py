"""Recipes of SimCLR. No torch here."""

from __future__ import annotations

from pretrain.base.settings import AbovePositive, Positive, changed, settings
from pretrain.data.view import Input, View
from pretrain.train.recipe import Cosine, Recipe, in_bf16

TITLE = "SimCLR"
SUMMARY = "two views of an image attract, all others repel (Chen et al., ICML 2020, arXiv 2002.05709)"


@settings
class SimCLRRecipe(Recipe):
    """SimCLR's constants; defaults are the paper's."""

    dim: Positive = 128  # D
    hidden: Positive = 2048
    temperature: AbovePositive = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crops != 2:
            raise ValueError(f"views: two views of an image are compared, not {self.crops}")

    def techniques(self) -> list[str]:
        return [TITLE, "Contrast within the batch", *super().techniques()]


_VIEW = View(size=224, count=2, jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, gray=0.2, blur=0.5)
_1000 = SimCLRRecipe(
    name="rn50_in1k_simclr_1000ep_2x224",
    arch="resnet50",
    input=Input(size=224, resize=256),
    views=(_VIEW,),
    epochs=1000,
    batch_size=4096,
    lr=4.8,
    weight_decay=1e-6,
    optimizer="lars",
    schedule=Cosine(warmup=10),
    precision="fp32",
)
_200 = changed(
    _1000,
    name="simclr_resnet50_8xb32-coslr-200e_in1k",
    config="resnet50_8xb32-coslr-200e",
    epochs=200,
    batch_size=256,
    tail="pad",
    lr=0.3,
    schedule=Cosine(warmup=10, start=0.0001),
)
_PUBLISHED = (
    _1000,
    changed(_1000, name="rn50_in1k_simclr_100ep_2x224", epochs=100),
    changed(_1000, name="rn50_in1k_simclr_800ep_2x224", epochs=800),
    _200,
)
PAPER = (*_PUBLISHED, *(in_bf16(recipe) for recipe in _PUBLISHED))
DEMO = (
    changed(
        _1000,
        name="simclr_resnet10-narrow_demo",
        config="resnet10-narrow",
        arch="resnet10_narrow",
        input=Input(size=32, resize=32),
        views=(View(size=32, count=2, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2),),
        epochs=40,
        batch_size=64,
        lr=0.06,
        weight_decay=1e-5,
        optimizer="sgd",
        schedule=Cosine(warmup=1),
        precision="bf16",
        hidden=256,
        dim=64,
    ),
)
PHOTOS = (
    changed(
        DEMO[0],
        name="simclr_resnet10-narrow_photos",
        input=Input(size=32, resize=36),
        views=(View(size=32, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.8, 0.2), gray=0.2, mix=0.3),),
        epochs=100,
        adapts=("batch_size", "lr", "epochs"),
    ),
)
SMOKE = (changed(DEMO[0], name="simclr_resnet10-narrow_smoke", epochs=6),)
