"""Recipes of Online Deep Clustering. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pretrain.base.settings import Count, Positive, Rate, changed, settings
from pretrain.data.view import Input, View
from pretrain.train.recipe import KmeansBackend, Recipe, Step, in_bf16

TITLE = "Online Deep Clustering"
SUMMARY = "clustering and training in the same iteration (Zhan et al., CVPR 2020, arXiv 2006.10645)"


@settings
class ODCRecipe(Recipe):
    """ODC's constants; defaults are the paper's."""

    clusters: Annotated[int, Field(ge=2)] = 10_000  # K
    dim: Positive = 256  # D
    hidden: Positive = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    neck_bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.001
    neck_bn_group: Count = 0  # images that share statistics in the neck, 0: the whole batch
    head_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    memory_momentum: Annotated[float, Field(gt=0, le=1)] = 0.5
    min_cluster: Count = 20  # m
    centroids_every: Positive = 10  # iterations
    reweight_power: Rate = 0.5
    metric: Literal["dot", "cosine", "l2"] = "dot"
    sampler: Literal["with-replacement", "permutation"] = "with-replacement"
    init_bn: Literal["reference", "calibrated"] = "reference"
    kmeans_iterations: Positive = 20
    kmeans_backend: KmeansBackend = "torch"
    # Small clusters are counted on the device and read by the host one iteration later; exact reads at once.
    exact: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crops != 1:
            raise ValueError(f"views: a step sees one view of an image, not {self.crops}")
        if self.neck_bn_group == 1:
            raise ValueError("neck_bn_group: one image has no variance for batch norm; take 2 or more, or 0")

    def fits(self, images: int, classes: int) -> None:
        super().fits(images, classes)
        if images < self.clusters:
            raise self.misfit(
                f"{self.clusters} clusters need at least as many images, not {images}; lower 'clusters'"
            )

    def kept(self, images: int) -> int:
        return images * (4 * self.dim + 16) + 8 * self.clusters * self.dim

    def beside(self, images: int) -> tuple[float, float]:
        rounds = self.kmeans_iterations + self.epochs
        return images, 2.0 * images * self.clusters * self.dim * rounds

    def techniques(self) -> list[str]:
        return [TITLE, "k-means pseudo-labels", "Sample and centroid memory", *super().techniques()]


_RELEASED = ODCRecipe(
    name="odc_resnet50_8xb64-steplr-440e_in1k",
    version=2,
    config="resnet50_8xb64-steplr-440e",
    arch="resnet50",
    input=Input(size=224, resize=256),
    views=(View(size=224, rotate=2.0, jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2),),
    epochs=440,
    batch_size=512,
    tail="pad",  # 2503 steps, as released; the last of those had 144 images, ours is filled up to 512
    lr=0.06,
    weight_decay=1e-5,
    schedule=Step(milestones=(400,), gamma=0.4),
    precision="fp32",
    neck_bn_group=64,  # those of one of eight GPUs: the released neck does not synchronise
)
PAPER = (_RELEASED, in_bf16(_RELEASED))
DEMO = (
    changed(
        PAPER[0],
        name="odc_resnet10-narrow_demo",
        version=3,
        config="sobel_resnet10-narrow",
        arch="resnet10_narrow",
        # Edges, as DeepCluster's: the untrained network clusters by colour, which the views change, and such
        # labels cannot be learnt.
        input=Input(size=32, resize=32, sobel=True),
        views=(View(size=32, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2, mix=0.5),),
        epochs=60,
        batch_size=64,
        tail="drop",
        lr=0.03,  # for an eighth of the published batch; 0.06 takes half as many epochs more to the same loss
        schedule=Step(milestones=(52,), gamma=0.4),
        precision="bf16",
        neck_bn_group=0,
        clusters=100,
        min_cluster=10,
        dropout=0.0,
        head_momentum=0.9,  # 62 iterations an epoch: a head without momentum needs thousands
        memory_momentum=0.15,  # labels that change by the iteration cannot be learnt in 3,720 of them
        metric="cosine",
        init_bn="calibrated",
    ),
)
PHOTOS = (
    changed(
        DEMO[0],
        name="odc_resnet10-narrow_photos",
        config="resnet10-narrow",
        input=Input(size=32, resize=36),
        views=(View(size=32, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.8, 0.2), gray=0.2, mix=0.3),),
        epochs=150,
        lr=0.06,
        schedule=Step(milestones=(128,), gamma=0.4),
        min_cluster=5,
        memory_momentum=0.3,
        adapts=("batch_size", "lr", "epochs", "clusters"),
    ),
)
SMOKE = (
    changed(
        DEMO[0],
        name="odc_resnet10-narrow_smoke",
        epochs=6,
        lr=0.06,
        schedule=Step(),
        batch_size=64,
        clusters=40,
    ),
)
