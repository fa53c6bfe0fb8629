"""Recipes of BYOL. No torch here."""

from __future__ import annotations

from pretrain.base.settings import Positive, Probability, changed, settings
from pretrain.data.view import Input, View
from pretrain.train.recipe import Cosine, Recipe, in_bf16

TITLE = "BYOL"
SUMMARY = "one view predicts the slow features of another (Grill et al., NeurIPS 2020, arXiv 2006.07733)"


@settings
class BYOLRecipe(Recipe):
    """BYOL's constants; defaults are the paper's at 1000 epochs.

    teacher_momentum: at the first step; it rises to 1.
    """

    dim: Positive = 256  # D
    hidden: Positive = 4096  # of projector and predictor
    teacher_momentum: Probability = 0.996

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crops != 2:
            raise ValueError(f"views: each of two views of an image predicts the other, not {self.crops}")

    def taught(self) -> int:
        return 2

    def techniques(self) -> list[str]:
        return [TITLE, "Momentum encoder", "Predictor", *super().techniques()]


_FIRST = View(size=224, jitter=(0.4, 0.4, 0.2, 0.1), jitter_p=0.8, gray=0.2, blur=1.0)
_SECOND = changed(_FIRST, blur=0.1, solarize=0.2)
_1000 = BYOLRecipe(
    name="rn50_in1k_byol_1000ep_2x224",
    arch="resnet50",
    input=Input(size=224, resize=256),
    views=(_FIRST, _SECOND),
    epochs=1000,
    batch_size=4096,
    lr=3.2,
    weight_decay=1.5e-6,
    optimizer="lars",
    schedule=Cosine(warmup=10),
    precision="fp32",
)
_300 = changed(
    _1000, name="rn50_in1k_byol_300ep_2x224", epochs=300, lr=4.8, weight_decay=1e-6, teacher_momentum=0.99
)
_200 = changed(
    _300,
    name="byol_resnet50_8xb32-accum16-coslr-200e_in1k",
    config="resnet50_8xb32-accum16-coslr-200e",
    epochs=200,
    schedule=Cosine(warmup=10, start=0.0001),
    bn_group=256,
)
_PUBLISHED = (_1000, _300, _200)
PAPER = (*_PUBLISHED, *(in_bf16(recipe) for recipe in _PUBLISHED))
DEMO = (
    changed(
        _1000,
        name="byol_resnet10-narrow_demo",
        config="sobel_resnet10-narrow",
        arch="resnet10_narrow",
        # Edges: a network without negatives is content with the colours of an image, and mixed ones say less.
        input=Input(size=32, resize=32, sobel=True),
        views=(View(size=32, count=2, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2, mix=0.5),),
        epochs=40,
        batch_size=64,
        lr=0.06,
        weight_decay=1e-4,
        optimizer="sgd",
        schedule=Cosine(warmup=1),
        precision="bf16",
        hidden=256,
        dim=64,
        teacher_momentum=0.97,  # as theirs of short runs
    ),
)
PHOTOS = (
    changed(
        DEMO[0],
        name="byol_resnet10-narrow_photos",
        config="resnet10-narrow",
        input=Input(size=32, resize=36),
        views=(View(size=32, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.8, 0.2), gray=0.2, mix=0.3),),
        epochs=100,
        adapts=("batch_size", "lr", "epochs"),
    ),
)
SMOKE = (changed(DEMO[0], name="byol_resnet10-narrow_smoke", epochs=6),)
