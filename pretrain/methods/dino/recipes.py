"""Recipes of DINO. No torch here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pretrain.base.settings import AbovePositive, Count, Positive, Probability, changed, settings
from pretrain.data.view import Input, View
from pretrain.train.recipe import Cosine, Recipe

TITLE = "DINO"
SUMMARY = "a student predicts the centred, sharpened outputs of its teacher (Caron et al., ICCV 2021, arXiv 2104.14294)"
TAUGHT = 2  # views that the teacher sees, the first ones


@settings
class DINORecipe(Recipe):
    """DINO's constants; defaults are those of the released ResNet-50.

    outputs: K, what student and teacher tell apart; dim: of the features before them; hidden: of the three
    layers of the head, head_bn: whether batch norms follow its first two;
    temperature: of the student; teacher_start, teacher_end, teacher_warmup: the teacher's rises along a line
    over so many epochs; teacher_momentum: at the first step; it rises to 1;
    freeze: epochs in which the last layer stays as it is.
    """

    outputs: Annotated[int, Field(ge=2)] = 60_000
    dim: Positive = 256
    hidden: Positive = 2048
    head_bn: bool = True
    temperature: AbovePositive = 0.1
    teacher_start: AbovePositive = 0.04
    teacher_end: AbovePositive = 0.07
    teacher_warmup: Count = 50
    teacher_momentum: Probability = 0.996
    centre_momentum: Probability = 0.9
    freeze: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        crops = [view.size for view in self.views for _ in range(view.count)]
        if len(crops) < TAUGHT or crops[0] != crops[1]:
            raise ValueError(f"views: the teacher sees two views of one size first, not {crops[:TAUGHT]} px")

    def techniques(self) -> list[str]:
        return [TITLE, "Momentum encoder", "Centring and sharpening", *super().techniques()]


_FIRST = View(size=224, scale=(0.14, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), jitter_p=0.8, gray=0.2, blur=1.0)
_SECOND = changed(_FIRST, blur=0.1, solarize=0.2)
_SMALL = changed(_FIRST, size=96, count=6, scale=(0.05, 0.14), blur=0.5)
_800 = DINORecipe(
    name="rn50_in1k_dino_800ep_2x224_6x96",
    arch="resnet50",
    input=Input(size=224, resize=256),
    views=(_FIRST, _SECOND, _SMALL),
    epochs=800,
    batch_size=4080,  # 80 GPUs of 51 images
    lr=4.78125,
    weight_decay=1e-6,
    optimizer="lars",
    schedule=Cosine(warmup=10, final=0.0048 / 4.78125),
    precision="bf16",  # the released run, too, was mixed: fp16
)
PAPER = (_800,)
DEMO = (
    changed(
        _800,
        name="dino_resnet10-narrow_demo",
        config="sobel_resnet10-narrow",
        arch="resnet10_narrow",
        # Edges: a network without negatives is content with the colours of an image, and mixed ones say less.
        input=Input(size=32, resize=32, sobel=True),
        views=(View(size=32, count=2, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2, mix=0.5),),
        epochs=40,
        batch_size=64,
        lr=0.06,
        weight_decay=1e-5,
        optimizer="sgd",
        schedule=Cosine(warmup=1),
        outputs=256,
        hidden=256,
        dim=64,
        teacher_start=0.02,  # at 0.04 all outputs become equal: the loss rises to ln K
        teacher_end=0.02,
        teacher_warmup=0,
        teacher_momentum=0.99,
    ),
)
PHOTOS = (
    changed(
        DEMO[0],
        name="dino_resnet10-narrow_photos",
        input=Input(size=32, resize=36, sobel=True),
        views=(View(size=32, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.8, 0.2), gray=0.2, mix=0.3),),
        epochs=100,
        adapts=("batch_size", "epochs"),
    ),
)
SMOKE = (changed(DEMO[0], name="dino_resnet10-narrow_smoke", epochs=6, outputs=32),)
