"""Linear SVMs on frozen features of VOC07: the whole training set, and k images per class.

Goyal et al. 2019 (arXiv 1905.01235) as released in FAIR's benchmark and OpenSelfSup: five pooled maps of the
image warped to a square, squared hinge, class weights 2 : 1, 19 costs. The full SVM chooses a cost per class
by three-fold cross-validation; difficult images are negatives in training and left out at test. Low-shot
draws k positive and 19 k negative images per class five times; its cost is the one with the best mean on the
test split, as the field does it, and beside it stands the value at a cost chosen on training images that were
not drawn. The best layer is the one with the highest full SVM on the test split, as published; low-shot runs
on that layer. Beside it stands the layer with the highest cross-validated AP on the training images, on which
the honest values of both are computed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from benchmarks.contract.protocol import LIBRARIES, Protocol
from benchmarks.contract.table import Column, Table
from pretrain.base.settings import Positive, settings

# The 19 costs of OpenSelfSup and MMSelfSup, in their order: the first of equally good costs wins.
COSTS = (1.0, 10.0, 100.0, *(0.5**n for n in range(4, 20)))
Cost = Annotated[float, Field(ge=1e-30)]  # below it, 1 / C has no room in float32
SHOTS = (1, 2, 4, 8, 16, 32, 64, 96)


@settings
class SvmSettings:
    """costs: C of the grid; folds: of the cross-validation; pooled: largest flattened size of a map; side: of
    the image in px, 0 for the side that the backbone was trained at.

    Raises ValueError on a cost given twice.
    """

    costs: Annotated[tuple[Cost, ...], Field(min_length=1)] = COSTS
    folds: Annotated[int, Field(ge=2)] = 3
    pooled: Positive = 9216
    side: Annotated[int, Field(ge=0, le=10_000)] = 0

    def __post_init__(self) -> None:
        if len(set(self.costs)) < len(self.costs):
            raise ValueError(
                f"costs must differ from each other, got {list(self.costs)}; leave out the repeated"
            )


@settings
class LowShotSettings(SvmSettings):
    """ks: positive images per class; negatives: per positive; samples: independent draws.

    Raises ValueError on ks that do not rise.
    """

    ks: Annotated[tuple[Positive, ...], Field(min_length=1)] = SHOTS
    negatives: Positive = 19
    samples: Positive = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.ks) != sorted(set(self.ks)):
            raise ValueError(f"ks must rise, got {list(self.ks)}")


TABLE = Table(
    heading="VOC SVM / Low-shot SVM",
    intro="Best Layer names the feature map with the best SVM: feature1 is the stem, feature2 to feature5 the four "
    "stages. k is the number of positive images per class of the low-shot SVM, run on that layer. SVMs are solved "
    "exactly; published ones are liblinear's after 2,000 iterations, which stop short at the largest costs.",
)
_DATA = {"train": "voc07/trainval", "test": "voc07/test"}
PACKAGES = (*LIBRARIES, "scikit-learn")  # whose folds these are
_SOURCE = "Goyal et al. 2019; cost grid of OpenSelfSup and MMSelfSup"


def columns(settings: LowShotSettings) -> tuple[Column, ...]:
    """One for each k."""
    return tuple(Column(f"k={k}", f"k{k}") for k in settings.ks)


PAPER = (
    Protocol(
        name="voc07_svm",
        title="VOC07 SVM",
        source=_SOURCE,
        version=2,  # the layer and the honest values chosen by cross-validation
        settings=SvmSettings(),
        data=_DATA,
        report_on="test",
        packages=PACKAGES,
        choose="cost per class by cross-validation; best layer by test mAP, as published",
        table=TABLE,
        columns=(Column("Best Layer", "mAP", show="choice"), Column("SVM", "mAP")),
        place=10,
        together=True,
        kept=lambda settings: 4 * 5 * settings.pooled,
    ),
    Protocol(
        name="voc07_low_shot",
        title="VOC07 low-shot SVM",
        source=_SOURCE,
        version=2,  # the layer and the honest values chosen by cross-validation
        settings=LowShotSettings(),
        data=_DATA,
        report_on="test",
        packages=PACKAGES,
        choose="one cost per k by mean test mAP over five draws, as published",
        table=TABLE,
        columns=columns(LowShotSettings()),
        columns_of=columns,
        place=11,
        together=True,
        kept=lambda settings: 4 * 5 * settings.pooled,
        function="run_low_shot",
    ),
)
# The embedded VOC scenes are few: smaller maps, and fewer negatives than 19 per positive, so that k = 96
# exists. At 64 px their digits have the size that the backbone was trained at.
DEMO = (
    replace(PAPER[0], settings=SvmSettings(pooled=1024, side=64)),
    replace(PAPER[1], settings=LowShotSettings(pooled=1024, side=64, negatives=4)),
)
PHOTOS = (
    replace(PAPER[0], settings=SvmSettings(pooled=2048, side=64)),
    replace(PAPER[1], settings=LowShotSettings(pooled=2048, side=64)),
)
_FEW = (100.0, 1.0, 0.5**6, 0.5**12)
SMOKE = (
    replace(PAPER[0], settings=SvmSettings(costs=_FEW, pooled=512, side=64)),
    replace(
        PAPER[1],
        settings=LowShotSettings(costs=_FEW, pooled=512, side=64, negatives=4, ks=(1, 2, 4, 8), samples=2),
        columns=PAPER[1].columns[:4],
    ),
)
