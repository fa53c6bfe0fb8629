"""Recipes of DeepCluster-v2. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pretrain.base.settings import AbovePositive, Positive, changed, settings
from pretrain.data.view import CIFAR_MEAN, CIFAR_STD, Input, View
from pretrain.train.recipe import Cosine, KmeansBackend, Recipe, in_bf16

TITLE = "DeepCluster-v2"
SUMMARY = "spherical k-means on features of the last epoch (Caron et al., NeurIPS 2020, arXiv 2006.09882)"


@settings
class DeepClusterV2Recipe(Recipe):
    """DeepCluster-v2's constants; defaults are the paper's."""

    prototypes: Annotated[int, Field(ge=2)] = 3000  # K
    heads: Positive = 3  # Q
    banks: Positive = 2  # J: crops whose features are clustered
    dim: Positive = 128  # D
    hidden: Positive = 2048
    temperature: AbovePositive = 0.1
    kmeans_iterations: Positive = 10
    kmeans_backend: KmeansBackend = "torch"
    empty: Literal["keep", "split"] = (
        "keep"  # a prototype without images stays where it is, or splits another
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.banks > self.crops:
            raise ValueError(f"banks: {self.banks} crops cannot be clustered where an image has {self.crops}")
        if self.kmeans_backend == "faiss" and self.empty == "keep":
            raise ValueError(
                "kmeans_backend: faiss always splits clusters to refill empty ones; set empty = split"
            )

    def fits(self, images: int, classes: int) -> None:
        super().fits(images, classes)
        seen = min(images, self.per_epoch(images) * self.batch_size)  # in the banks
        if seen < self.prototypes:
            said = (
                f"{self.prototypes} prototypes need at least as many images in an epoch's batches, not {seen}"
            )
            raise self.misfit(f"{said}; lower 'prototypes'")

    def kept(self, images: int) -> int:
        return images * (4 * self.banks * self.dim + 8 * self.heads)

    def beside(self, images: int) -> tuple[float, float]:
        rounds = self.epochs * self.heads * self.kmeans_iterations
        return images * self.banks, 2.0 * images * self.prototypes * self.dim * rounds

    def techniques(self) -> list[str]:
        several = ["Several clusterings at once"] if self.heads > 1 else []
        return [TITLE, "k-means pseudo-labels from memory banks", *several, *super().techniques()]


_INPUT = Input(size=224, resize=256, std=(0.228, 0.224, 0.225))
_VIEW = View(size=224, count=2, jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, gray=0.2, blur=0.5)
_SMALL = changed(_VIEW, size=96, count=4, scale=(0.05, 0.14))
_400 = DeepClusterV2Recipe(
    name="rn50_in1k_deepclusterv2_400ep_2x160_4x96",
    version=2,
    arch="resnet50",
    input=_INPUT,
    views=(changed(_VIEW, size=160), _SMALL),
    epochs=400,
    batch_size=4096,
    lr=4.8,
    weight_decay=1e-6,
    optimizer="larc",
    schedule=Cosine(warmup=10, start=0.0625, final=0.001),
    precision="fp32",
    bn_group=512,
)
_RELEASED = (
    _400,
    changed(_400, name="rn50_in1k_deepclusterv2_400ep_2x224", views=(_VIEW,)),
    changed(
        _400,
        name="rn50_in1k_deepclusterv2_800ep_2x224_6x96",
        views=(changed(_VIEW, scale=(0.14, 1.0)), changed(_SMALL, count=6)),
        epochs=800,
    ),
)
PAPER = _RELEASED + tuple(in_bf16(recipe) for recipe in _RELEASED)
DEMO = (
    changed(
        _400,
        name="deepclusterv2_resnet10-narrow_demo",
        version=2,  # views of the first banks in fp32
        config="resnet10-narrow",
        arch="resnet10_narrow",
        input=Input(size=32, resize=32),
        views=(View(size=32, count=2, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2, mix=0.5),),
        epochs=50,
        batch_size=64,
        lr=0.2,
        weight_decay=1e-5,
        optimizer="sgd",
        schedule=Cosine(warmup=3, final=0.001),
        precision="bf16",
        bn_group=0,
        prototypes=40,
        hidden=256,
        dim=64,
    ),
)
PHOTOS = (
    changed(
        DEMO[0],
        name="deepclusterv2_resnet10-narrow_photos",
        input=Input(size=32, resize=36),
        views=(View(size=32, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.8, 0.2), gray=0.2, mix=0.3),),
        epochs=135,
        prototypes=100,
        adapts=("batch_size", "lr", "epochs", "prototypes"),
    ),
)
# vturrisi/solo-learn 9187ea3, scripts/pretrain/cifar/deepclusterv2.yaml and augmentations/symmetric.yaml;
# pixels: solo/data/pretrain_dataloader.py; stem: solo/methods/base.py; momentum 0.9: solo/args/pretrain.py;
# temperature and ten iterations: solo/methods/deepclusterv2.py. Theirs is fp16; either view has batch-norm
# statistics of its own; the first epoch has no labels. Ours: bf16, statistics of both views, and banks filled
# before the first epoch, which has labels therefore.
CIFAR = (
    DeepClusterV2Recipe(
        name="deepclusterv2_resnet18_cifar",
        version=2,
        config="resnet18-cifar",
        arch="resnet18_small_pad2",
        input=Input(size=32, resize=32, mean=CIFAR_MEAN, std=CIFAR_STD),
        views=(View(size=32, count=2, jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, gray=0.2, blur=0.5),),
        epochs=1000,
        batch_size=256,
        lr=0.6,
        weight_decay=1e-6,
        optimizer="lars-clipped",
        schedule=Cosine(warmup=11, final=0.001),
    ),
)
SMOKE = (changed(DEMO[0], name="deepclusterv2_resnet10-narrow_smoke", epochs=6, batch_size=64),)
