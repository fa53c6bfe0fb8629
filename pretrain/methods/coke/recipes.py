"""Recipes of CoKe. No torch here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pretrain.base.settings import AbovePositive, Count, Positive, Probability, Rate, changed, settings
from pretrain.data.view import Input, View
from pretrain.train.recipe import HeldCosine, Recipe

TITLE = "CoKe"
SUMMARY = "online k-means whose clusters have a least size (Qian et al., CVPR 2022, arXiv 2105.11527)"
LARGE = 2  # views that are clustered, where there are more than one

Clusters = Annotated[int, Field(ge=2)]


@settings
class CoKeRecipe(Recipe):
    """CoKe's constants; defaults are the released ones of two views.

    ratio: least size of a cluster, as a share of N / K; dual_rate: of the duals that see to it;
    hard_weight: of the cluster's number, the rest is the soft assignment of the other large view;
    prediction_weight: of the loss behind the predictor, the rest is the projector's;
    large_weight: of the large views' loss where there are small ones;
    centred: whether the last batch norm of the projector has no scale and shift; the paper's has;
    mixture_from: epoch from which centroids and labels are averaged over epochs, 0: never; mixture: labels
    that an image keeps then; mixture_temperature: of their weights.
    """

    clusterings: Annotated[tuple[Clusters, ...], Field(min_length=1)] = (3000, 4000, 5000)  # K of each
    dim: Positive = 128  # D
    hidden: Positive = 2048
    temperature: AbovePositive = 0.05
    ratio: Probability = 0.4
    dual_rate: Rate = 20.0
    hard_weight: Probability = 0.2
    prediction_weight: Probability = 0.5
    large_weight: Probability = 0.5
    centred: bool = False
    mixture_from: Count = 0
    mixture: Annotated[int, Field(ge=2)] = 5
    mixture_temperature: AbovePositive = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixture_from and self.crops > 1:
            raise ValueError("mixture_from: labels are averaged over epochs with one view alone; set it to 0")

    def unreached(self) -> list[str]:
        if not self.mixture_from or self.mixture_from < self.epochs:
            return []
        said = f"is after the last of {self.epochs} epochs: nothing is averaged over epochs"
        return [f"mixture_from {self.mixture_from} {said}"]

    def fits(self, images: int, classes: int) -> None:
        super().fits(images, classes)
        if images < (most := max(self.clusterings)):
            said = f"{most} clusters need at least as many images, not {images}; lower 'clusterings'"
            raise self.misfit(said)

    def kept(self, images: int) -> int:
        mixed = 2 * len(self.clusterings) * self.mixture if self.mixture_from else 0
        return 4 * images * (len(self.clusterings) + 1 + mixed) + 8 * sum(self.clusterings) * self.dim

    def techniques(self) -> list[str]:
        several = ["Several clusterings at once"] if len(self.clusterings) > 1 else []
        return [TITLE, "Online k-means with a least cluster size", *several, *super().techniques()]


# Views have the colours of SimCLR (one view, small views) or BYOL.
_STRONG = View(size=224, jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, gray=0.2, blur=0.5)
_FIRST = changed(_STRONG, jitter=(0.4, 0.4, 0.2, 0.1), blur=1.0)
_SECOND = changed(_FIRST, blur=0.1, solarize=0.2)
_DOUBLE = CoKeRecipe(
    name="rn50_in1k_coke_1000ep_2x224",
    arch="resnet50",
    input=Input(size=224, resize=256),
    views=(_FIRST, _SECOND),
    epochs=1001,  # the first, at rate 0, only clusters
    batch_size=1024,
    tail="pad",
    lr=1.6,
    weight_decay=1e-6,
    optimizer="lars",
    schedule=HeldCosine(hold=1, warmup=10),
    precision="bf16",  # the released runs, too, were mixed: fp16
)
PAPER = (
    changed(
        _DOUBLE,
        name="rn50_in1k_coke_1000ep_1x224",
        views=(_STRONG,),
        temperature=0.1,
        prediction_weight=1.0,
        mixture_from=801,
    ),
    _DOUBLE,
    changed(
        _DOUBLE,
        name="rn50_in1k_coke_800ep_2x224_6x96",
        views=(_FIRST, _SECOND, changed(_STRONG, size=96, count=6, scale=(0.05, 0.6))),
        epochs=801,
    ),
)
DEMO = (
    changed(
        _DOUBLE,
        name="coke_resnet10-narrow_demo",
        config="sobel_resnet10-narrow",
        arch="resnet10_narrow",
        # Edges: the untrained network clusters by colour, which the views change, and such labels cannot be
        # learnt.
        input=Input(size=32, resize=32, sobel=True),
        views=(View(size=32, count=2, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2, mix=0.5),),
        epochs=34,
        batch_size=64,
        tail="drop",
        lr=0.03,
        weight_decay=1e-5,
        optimizer="sgd",
        schedule=HeldCosine(hold=1, warmup=1),
        clusterings=(30, 40, 50),
        hidden=256,
        dim=64,
        temperature=0.1,
        ratio=0.8,
        dual_rate=1.0,  # 62 iterations an epoch: at 0.3 empty clusters take many epochs to fill
        hard_weight=0.5,
        prediction_weight=1.0,  # while labels are noise they ask for equal logits: the predictor can give those
        centred=True,  # a shift grows with the mean of all features, until they lie in a narrow cone
    ),
)
PHOTOS = (
    changed(
        DEMO[0],
        name="coke_resnet10-narrow_photos",
        config="resnet10-narrow",
        input=Input(size=32, resize=36),
        views=(View(size=32, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.8, 0.2), gray=0.2, mix=0.3),),
        epochs=100,
        adapts=("batch_size", "lr", "epochs"),
    ),
)
SMOKE = (
    changed(
        DEMO[0],
        name="coke_resnet10-narrow_smoke",
        views=(changed(DEMO[0].views[0], count=1),),
        epochs=6,
        clusterings=(10, 15),
        mixture_from=3,
        mixture=2,
    ),
)
