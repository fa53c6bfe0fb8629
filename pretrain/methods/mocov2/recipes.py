"""Recipes of MoCo v2. No torch here."""

from __future__ import annotations

from pretrain.base.settings import AbovePositive, Positive, Probability, changed, settings
from pretrain.data.view import Input, View
from pretrain.train.recipe import Cosine, EpochCosine, Recipe, in_bf16

TITLE = "MoCo v2"
SUMMARY = "an image's slow features are found among a queue of others (Chen et al. 2020, arXiv 2003.04297)"


@settings
class MoCoRecipe(Recipe):
    """MoCo v2's constants; defaults are the released ones.

    bn_group: keys are shuffled between its groups; with 0 there is one, and nothing to shuffle;
    head_bn: whether batch norm follows both layers of the head, the last one without scale and shift; the
    released head has none.
    """

    dim: Positive = 128  # D
    hidden: Positive = 2048
    temperature: AbovePositive = 0.2
    queue: Positive = 65_536  # keys of earlier batches, over all processes
    teacher_momentum: Probability = 0.999
    head_bn: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crops != 2:
            raise ValueError(f"views: a query and its key are two views of an image, not {self.crops}")
        if self.queue < self.batch_size:
            said = f"{self.queue} keys are fewer than a batch of {self.batch_size}"
            raise ValueError(f"queue: {said}; lengthen it or lower batch_size")

    def kept(self, images: int) -> int:
        return 4 * self.queue * self.dim

    def taught(self) -> int:
        return 1

    def techniques(self) -> list[str]:
        return [TITLE, "Momentum encoder", "Feature queue", *super().techniques()]


_VIEW = View(
    size=224, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, gray=0.2, blur=0.5
)
_200 = MoCoRecipe(
    name="rn50_in1k_mocov2_200ep",
    arch="resnet50",
    input=Input(size=224, resize=256),
    views=(_VIEW,),
    epochs=200,
    batch_size=256,
    lr=0.03,
    weight_decay=1e-4,
    schedule=EpochCosine(first=0),
    precision="fp32",
    bn_group=32,  # those of one of eight GPUs
)
_800 = changed(_200, name="rn50_in1k_mocov2_800ep", epochs=800)
PAPER = (_200, _800, in_bf16(_200), in_bf16(_800))
DEMO = (
    changed(
        _200,
        name="mocov2_resnet10-narrow_demo",
        version=2,  # at twice the published rate or half the temperature some seeds collapse
        config="resnet10-narrow",
        arch="resnet10_narrow",
        input=Input(size=32, resize=32),
        views=(View(size=32, count=2, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2),),
        epochs=40,
        batch_size=64,
        schedule=Cosine(warmup=1),
        precision="bf16",
        bn_group=0,  # in groups of few images the batch norms of so small a network are noise
        hidden=256,
        dim=64,
        queue=1024,
        teacher_momentum=0.97,  # 62 iterations an epoch: at 0.999 the teacher would stay what it was
        head_bn=True,  # a narrow cone of features, as an untrained network's are, does not open without
    ),
)
PHOTOS = (
    changed(
        DEMO[0],
        name="mocov2_resnet10-narrow_photos",
        input=Input(size=32, resize=36),
        views=(View(size=32, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.8, 0.2), gray=0.2, mix=0.3),),
        epochs=100,
        adapts=("batch_size", "lr", "epochs"),
    ),
)
SMOKE = (changed(DEMO[0], name="mocov2_resnet10-narrow_smoke", epochs=6, bn_group=8, queue=128),)
