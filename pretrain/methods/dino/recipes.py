"""Recipes of DINO. No torch here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pretrain.base.settings import AbovePositive, Count, Positive, Probability, Rate, changed, settings
from pretrain.data.view import Input, View
from pretrain.train.recipe import SMALLEST_EPSILON, Cosine, Recipe

TITLE = "DINO"
SUMMARY = "a slow network's outputs, sharpened, teach every crop (Caron et al., ICCV 2021, arXiv 2104.14294)"


@settings
class DINORecipe(Recipe):
    """DINO's constants; defaults are those of the released ResNet-50 command.

    teacher_momentum: at the first step; it rises to 1. first_temperature: of the teacher in epoch 0, on a
    line to teacher_temperature in epoch temperature_epochs - 1; 0 or 1: no line.
    """

    prototypes: Annotated[int, Field(ge=2)] = 65_536  # K, outputs
    dim: Positive = 256  # D
    hidden: Positive = 2048  # of both hidden layers
    head_bn: bool = False  # batch norm after both, and after the layer to D without weights
    temperature: AbovePositive = 0.1
    teacher_temperature: AbovePositive = 0.04
    first_temperature: AbovePositive = 0.04
    temperature_epochs: Count = 0
    teacher_views: Annotated[int, Field(ge=1)] = 2  # the first views, which the teacher sees
    teacher_momentum: Probability = 0.996
    centre_momentum: Probability = 0.9
    sinkhorn_iterations: Count = 0  # of equal shares of a batch instead of a centre
    clip: Rate = 3.0  # largest norm of one tensor's gradient, 0: any
    freeze_epochs: Count = 1  # before the prototypes move

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher_views > self.crops or self.crops < 2:
            said = f"{self.teacher_views} of {self.crops} views leave none that they could teach"
            raise ValueError(f"teacher_views: {said}")
        if self.temperature_epochs > self.epochs:
            said = f"{self.temperature_epochs} epochs are more than the {self.epochs} there are"
            raise ValueError(f"temperature_epochs: {said}; set both")
        sharpest = min(self.teacher_temperature, self.first_temperature)
        if self.sinkhorn_iterations and sharpest < SMALLEST_EPSILON:
            said = f"Sinkhorn's codes take {SMALLEST_EPSILON:g} or more, not {sharpest:g}"
            raise ValueError(f"teacher_temperature, first_temperature: {said}; exponentials overflow below")

    def kept(self, images: int) -> int:
        return 12 * self.prototypes * self.dim  # directions, their momentum and their teacher

    def taught(self) -> int:
        return self.teacher_views

    def techniques(self) -> list[str]:
        codes = "Sinkhorn-Knopp codes" if self.sinkhorn_iterations else "Centring and sharpening"
        return [TITLE, "Momentum encoder", codes, *super().techniques()]


_FIRST = View(size=224, scale=(0.14, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), jitter_p=0.8, gray=0.2, blur=1.0)
_SECOND = changed(_FIRST, blur=0.1, solarize=0.2)
_SMALL = changed(_FIRST, size=96, count=8, scale=(0.05, 0.14), blur=0.5)
# facebookresearch/dino 7c446df: the command of README.md for convnets on eight GPUs and defaults of
# main_dino.py. The rate is 0.03 for 256 images, of 512; its end is 1e-6.
_100 = DINORecipe(
    name="rn50_in1k_dino_100ep_2x224_8x96",
    arch="resnet50",
    input=Input(size=224, resize=256),
    views=(_FIRST, _SECOND, _SMALL),
    epochs=100,
    batch_size=512,
    lr=0.06,
    weight_decay=1e-4,
    schedule=Cosine(warmup=10, final=1e-6 / 0.06),
    precision="bf16",  # theirs is fp16
)
PAPER = (_100,)
DEMO = (
    changed(
        _100,
        name="dino_resnet10-narrow_demo",
        config="sobel_resnet10-narrow",
        arch="resnet10_narrow",
        input=Input(size=32, resize=32, sobel=True),  # edges, as BYOL's
        views=(View(size=32, count=2, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2, mix=0.5),),
        epochs=40,
        batch_size=64,
        lr=0.03,
        schedule=Cosine(warmup=1),
        hidden=256,
        dim=64,
        prototypes=64,
        head_bn=True,
        # As published, all outputs became equal within three epochs, or one took all of the images: features
        # of an untrained network are a narrow cone. Equal shares of every batch (section 5.1) open it.
        sinkhorn_iterations=3,
        teacher_temperature=0.01,
        first_temperature=0.01,
        teacher_momentum=0.97,
        freeze_epochs=10_000,  # for good, as in every trial that learned; not tried otherwise with equal shares
    ),
)
PHOTOS = (
    changed(
        DEMO[0],
        name="dino_resnet10-narrow_photos",
        config="resnet10-narrow",
        input=Input(size=32, resize=36),
        views=(View(size=32, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.8, 0.2), gray=0.2, mix=0.3),),
        epochs=100,
        adapts=("batch_size", "lr", "epochs"),
    ),
)
SMOKE = (changed(DEMO[0], name="dino_resnet10-narrow_smoke", epochs=6),)
