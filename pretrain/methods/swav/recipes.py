"""Recipes of SwAV. No torch here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pretrain.base.settings import AbovePositive, Count, Positive, changed, settings
from pretrain.data.view import CIFAR_MEAN, CIFAR_STD, Input, View
from pretrain.train.recipe import SMALLEST_EPSILON, Cosine, Recipe

TITLE = "SwAV"
SUMMARY = "the codes of one view are predicted from the others (Caron et al., NeurIPS 2020, arXiv 2006.09882)"


@settings
class SwAVRecipe(Recipe):
    """SwAV's constants; defaults are the paper's at batch 4096."""

    prototypes: Annotated[int, Field(ge=2)] = 3000  # K
    dim: Positive = 128  # D
    hidden: Positive = 2048
    temperature: AbovePositive = 0.1
    epsilon: Annotated[float, Field(ge=SMALLEST_EPSILON)] = 0.05
    sinkhorn_iterations: Positive = 3
    assign_views: Positive = 2  # the first views get codes
    freeze: Count = 313  # iterations before the prototypes move
    queue: Count = 0  # features of earlier batches, per assignment view, over all processes
    queue_from: Count = 15  # epoch from which the queue fills; used once full

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.queue < self.batch_size:
            said = f"{self.queue} features are fewer than a batch of {self.batch_size}; lengthen it or set 0"
            raise ValueError(f"queue: {said}")
        if self.assign_views > self.crops or self.crops < 2:
            raise ValueError(
                f"assign_views: {self.assign_views} of {self.crops} views leave none to predict them from"
            )

    def unreached(self) -> list[str]:
        if not self.queue or self.queue_from < self.epochs:
            return []
        return [f"queue_from {self.queue_from} is after the last of {self.epochs} epochs: no queue is used"]

    def kept(self, images: int) -> int:
        return 4 * self.queue * self.dim * self.assign_views + 8 * images

    def techniques(self) -> list[str]:
        queue = ["Feature queue"] if self.queue else []
        return [TITLE, "Sinkhorn-Knopp codes", *queue, *super().techniques()]


_INPUT = Input(size=224, resize=256, std=(0.228, 0.224, 0.225))
_VIEW = View(
    size=224, count=2, scale=(0.14, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, gray=0.2, blur=0.5
)
_SMALL = changed(_VIEW, size=96, count=6, scale=(0.05, 0.14))
_400 = SwAVRecipe(
    name="rn50_in1k_swav_400ep_2x224_6x96",
    arch="resnet50",
    input=_INPUT,
    views=(_VIEW, _SMALL),
    epochs=400,
    batch_size=4096,
    lr=4.8,
    weight_decay=1e-6,
    optimizer="larc",
    schedule=Cosine(warmup=10, start=0.0625, final=0.001),
    precision="bf16",  # the released runs, too, were mixed: apex O1, fp16
    bn_group=512,
)
_BATCH_256 = changed(
    _400,
    batch_size=256,
    lr=0.6,
    schedule=Cosine(final=0.001),
    bn_group=0,
    freeze=5005,
    queue=3840,
)
_WIDE = changed(_400, version=2, views=(_VIEW, changed(_SMALL, count=4)), hidden=8192, bn_group=256)
PAPER = (
    _400,
    changed(_400, name="rn50_in1k_swav_100ep_2x224_6x96", epochs=100),
    changed(_400, name="rn50_in1k_swav_200ep_2x224_6x96", epochs=200),
    changed(_400, name="rn50_in1k_swav_800ep_2x224_6x96", epochs=800),
    changed(_400, name="rn50_in1k_swav_400ep_2x224", views=(changed(_VIEW, scale=(0.08, 1.0)),)),
    changed(_BATCH_256, name="rn50_in1k_swav_200ep_bs256_2x224_6x96", epochs=200),
    changed(_BATCH_256, name="rn50_in1k_swav_400ep_bs256_2x224_6x96"),
    changed(_WIDE, name="rn50w2_in1k_swav_400ep_2x224_4x96", arch="resnet50w2"),
    changed(
        _WIDE,
        name="rn50w4_in1k_swav_400ep_2x224_4x96",
        arch="resnet50w4",
        views=(changed(_VIEW, scale=(0.08, 1.0)), changed(_SMALL, count=4, scale=(0.08, 0.14))),
        batch_size=2560,
        bn_group=320,
        queue=2560,
        queue_from=0,
    ),
)
DEMO = (
    changed(
        _400,
        name="swav_resnet10-narrow_demo",
        config="resnet10-narrow",
        arch="resnet10_narrow",
        input=Input(size=32, resize=32),
        views=(View(size=32, count=2, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2),),
        epochs=40,
        batch_size=64,
        lr=0.06,
        weight_decay=1e-5,
        optimizer="sgd",
        schedule=Cosine(warmup=1, final=0.001),
        precision="bf16",
        bn_group=0,
        prototypes=30,
        hidden=256,
        dim=64,
        epsilon=0.01,  # at 0.03 a narrow cone of features has uniform codes, which teach nothing: it stays one
        freeze=0,
    ),
)
PHOTOS = (
    changed(
        DEMO[0],
        name="swav_resnet10-narrow_photos",
        input=Input(size=32, resize=36),
        views=(View(size=32, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.8, 0.2), gray=0.2, mix=0.3),),
        epochs=100,
        lr=0.12,
        prototypes=60,
        adapts=("batch_size", "lr", "epochs", "prototypes"),
    ),
)
# vturrisi/solo-learn 9187ea3, scripts/pretrain/cifar/swav.yaml and augmentations/symmetric.yaml; pixels:
# solo/data/pretrain_dataloader.py; stem: solo/methods/base.py; epsilon, iterations: solo/methods/swav.py; the
# warm-up from 3e-5 over 10 epochs and momentum 0.9 are defaults of solo/methods/base.py and
# solo/args/pretrain.py. 390 iterations are two epochs of 195. Theirs is fp16; either view has batch-norm
# statistics of its own; the queue fills from the first epoch and is used from epoch 50 on; prototypes are
# weight-normalised. Ours: bf16, statistics of both views, a queue that fills from epoch 50, unit prototypes.
CIFAR = (
    SwAVRecipe(
        name="swav_resnet18_cifar",
        config="resnet18-cifar",
        arch="resnet18_small_pad2",
        input=Input(size=32, resize=32, mean=CIFAR_MEAN, std=CIFAR_STD),
        views=(View(size=32, count=2, jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, gray=0.2, blur=0.5),),
        epochs=1000,
        batch_size=256,
        lr=0.6,
        weight_decay=1e-6,
        optimizer="lars-clipped",
        schedule=Cosine(warmup=10, start=5e-5),
        freeze=390,
        queue=3840,
        queue_from=50,
    ),
)
SMOKE = (changed(DEMO[0], name="swav_resnet10-narrow_smoke", epochs=6),)
