"""Recipes of DeepCluster. No torch here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pretrain.base.settings import Count, Positive, changed, settings
from pretrain.data.view import Input, View
from pretrain.train.recipe import KmeansBackend, Recipe, in_bf16

TITLE = "DeepCluster"
SUMMARY = "cluster all features, train on the labels, start again (Caron et al., ECCV 2018, arXiv 1807.05520)"
PLAIN = ("alexnet", "vgg16_bn")  # networks that fully connected layers follow


@settings
class DeepClusterRecipe(Recipe):
    """DeepCluster's constants; defaults are those of its ResNet-50."""

    clusters: Annotated[int, Field(ge=2)] = 10_000  # K
    pca: Positive = 256  # D
    kmeans_iterations: Positive = 20
    kmeans_backend: KmeansBackend = "torch"
    head_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    hidden: Count = 0  # width of two fully connected layers between an AlexNet or VGG and its head
    dropout: Annotated[float, Field(ge=0, lt=1)] = (
        0.5  # before each of them; in a VGG before the second alone
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden and self.arch not in PLAIN:
            said = f"fully connected layers follow {' or '.join(PLAIN)}, not {self.arch}"
            raise ValueError(f"hidden: {said}; set hidden to 0 or take another arch")
        if self.hidden and (other := [view.size for view in self.views if view.size != self.input.size]):
            said = f"fully connected layers take images of one size, {self.input.size} px, not {other[0]}"
            raise ValueError(f"views: {said}; set input.size and the sizes of all views alike")

    def fits(self, images: int, classes: int) -> None:
        super().fits(images, classes)
        if images < self.clusters:
            raise self.misfit(
                f"{self.clusters} clusters need at least as many images, not {images}; lower 'clusters'"
            )

    def kept(self, images: int) -> int:
        return 16 * images

    def beside(self, images: int) -> tuple[float, float]:
        rounds = self.epochs * self.kmeans_iterations
        return images * self.epochs, 2.0 * images * self.clusters * self.pca * rounds

    def techniques(self) -> list[str]:
        return [TITLE, "k-means pseudo-labels", "PCA whitening", *super().techniques()]


_RGB = DeepClusterRecipe(
    name="deepcluster_resnet50_8xb64-steplr-200e_in1k",
    config="resnet50_8xb64-steplr-200e",
    arch="resnet50",
    input=Input(size=224, resize=256),
    views=(View(size=224, rotate=2.0, jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2),),
    epochs=200,
    batch_size=512,
    tail="pad",  # the last batch of the released runs is short: theirs has as many steps, not as many images
    lr=0.1,
    weight_decay=1e-5,
    precision="fp32",
    bn_group=64,  # those of one of eight GPUs
)
_SOBEL = changed(
    _RGB,
    name="deepcluster-sobel_resnet50_8xb64-steplr-200e_in1k",
    config="sobel_resnet50_8xb64-steplr-200e",
    input=Input(size=224, resize=256, sobel=True),
)
_ALEXNET = changed(
    _SOBEL,
    name="deepcluster-sobel_alexnet_1xb256-500e_in1k",
    config="sobel_alexnet_1xb256-500e",
    arch="alexnet",
    views=(View(size=224),),
    epochs=500,
    batch_size=256,
    lr=0.05,
    bn_group=0,
    hidden=4096,
)
_RELEASED = (
    _SOBEL,
    _RGB,
    _ALEXNET,
    changed(
        _ALEXNET,
        name="deepcluster-sobel_vgg16-bn_1xb256-500e_in1k",
        config="sobel_vgg16-bn_1xb256-500e",
        arch="vgg16_bn",
    ),
)
PAPER = _RELEASED + tuple(in_bf16(recipe) for recipe in _RELEASED)
DEMO = (
    changed(
        _SOBEL,
        name="deepcluster-sobel_resnet10-narrow_demo",
        config="sobel_resnet10-narrow",
        arch="resnet10_narrow",
        input=Input(size=32, resize=32, sobel=True),
        views=(View(size=32, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2, mix=0.5),),
        epochs=20,
        batch_size=32,  # the head starts afresh every epoch: it needs the steps, and momentum
        tail="drop",
        lr=0.05,
        precision="bf16",
        bn_group=0,
        head_momentum=0.9,
        clusters=40,
        pca=64,
    ),
)
PHOTOS = (
    changed(
        DEMO[0],
        name="deepcluster-sobel_resnet10-narrow_photos",
        input=Input(size=32, resize=36, sobel=True),
        views=(View(size=32, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.8, 0.2), gray=0.2, mix=0.3),),
        epochs=150,
        clusters=100,
        adapts=("batch_size", "lr", "epochs", "clusters"),
    ),
)
SMOKE = (
    changed(
        DEMO[0],
        name="deepcluster-sobel_resnet10-narrow_smoke",
        epochs=6,
        batch_size=64,
        clusters=40,
        pca=32,
    ),
)
