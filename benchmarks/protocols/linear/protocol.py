"""Linear evaluation of every depth: Feature1-5 and AvgPool heads on one frozen backbone, trained in one pass.

Feature1-5 are the multi-head protocol of FAIR's benchmark as OpenSelfSup ran it: pooled maps of about 9,000
values, batch norm without scale and shift, SGD with Nesterov momentum; the last epoch is reported. AvgPool is
MoCo's protocol: global average, learning rate 30, no weight decay; the best epoch is reported, as OpenSelfSup
did, and the last beside it. Where both want the same augmentation they share the forward pass of the
backbone; where they do not (ImageNet: colour jitter and lighting for Feature1-5 only), the two versions of a
batch go through it together. iNaturalist 2018 and Places205 have no published AvgPool setting: ours is MoCo's
on the schedule of the data set.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.table import Column, Table
from pretrain.base.settings import Positive, Rate, changed, settings
from pretrain.data.view import View
from pretrain.train.recipe import Scheduled, Step

HEADS = ("Feature1", "Feature2", "Feature3", "Feature4", "Feature5", "AvgPool")


@settings
class Solver(Scheduled):
    """SGD of one kind of head."""

    lr: Rate
    weight_decay: Rate
    nesterov: bool
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9


@settings
class LinearSettings:
    """features, average: solvers of Feature1-5 and of AvgPool; views: one for both, or one for each, at the
    size of the backbone; pooled: largest flattened size of a map; precision: of the frozen backbone, heads
    are fp32.
    """

    features: Solver
    average: Solver
    views: Annotated[tuple[View, ...], Field(min_length=1, max_length=2)]
    batch_size: Positive = 256
    pooled: Positive = 9216
    precision: Literal["fp32", "bf16"] = "fp32"


_HEADS = Solver(lr=0.01, weight_decay=1e-4, nesterov=True, epochs=90, schedule=Step(milestones=(30, 60, 90)))
_MOCO = Solver(lr=30.0, weight_decay=0.0, nesterov=False, epochs=100, schedule=Step(milestones=(60, 80)))
_PLAIN = View(size=224)


def _on(
    data: str, place: int, title: str, heading: str, source: str, given: LinearSettings, intro: str
) -> Protocol:
    return Protocol(
        name=f"{data}_linear",
        title=title,
        source=source,
        settings=given,
        data={"train": f"{data}/train", "val": f"{data}/val"},
        report_on="val",
        choose="Feature1-5: last epoch; AvgPool: best epoch on val, as published",
        table=Table(heading=f"{heading} Linear Evaluation", intro=intro),
        columns=tuple(Column(head, f"{head}_top1") for head in HEADS),
        place=place,
    )


def _schedule(epochs: int, milestones: tuple[int, ...], view: View) -> LinearSettings:
    features = changed(_HEADS, epochs=epochs, schedule=Step(milestones=milestones))
    average = changed(_MOCO, epochs=epochs, schedule=Step(milestones=milestones))
    return LinearSettings(features=features, average=average, views=(view,))


PAPER = (
    _on(
        "imagenet",
        20,
        "ImageNet linear",
        "ImageNet",
        "Goyal et al. 2019 and OpenSelfSup (Feature1-5), He et al. 2020 (AvgPool)",
        LinearSettings(
            features=_HEADS,
            average=_MOCO,
            views=(changed(_PLAIN, jitter=(0.4, 0.4, 0.4, 0.0), lighting=0.1), _PLAIN),
        ),
        "Feature1 to Feature5 are linear classifiers on pooled maps of the stem and the four stages; AvgPool is one on "
        "the global average of the last map. Top-1 accuracy in percent.",
    ),
    _on(
        "inat18",
        21,
        "iNaturalist 2018 linear",
        "iNaturalist2018",
        "MMSelfSup 0.x, resnet50_mhead_8xb32-steplr-84e_inat18",
        _schedule(84, (24, 48, 72), _PLAIN),
        "AvgPool has no published setting here: it is MoCo's with the epochs and drops of Feature1-5.",
    ),
    _on(
        "places205",
        22,
        "Places205 linear",
        "Places205",
        "OpenSelfSup and MMSelfSup 0.x, resnet50_mhead_8xb32-steplr-28e_places205",
        _schedule(28, (7, 14, 21), View(size=224, geometry="random-crop", resize=256)),
        "AvgPool has no published setting here: it is MoCo's with the epochs and drops of Feature1-5.",
    ),
)


def _small(protocol: Protocol, epochs: int, pooled: int) -> Protocol:
    """The same on the embedded scenes: digits are not flipped, learning rates suit a narrow network."""
    drops = Step(milestones=(epochs // 2, epochs * 3 // 4))
    given = LinearSettings(
        features=changed(_HEADS, epochs=epochs, schedule=drops),
        average=changed(_MOCO, lr=1.0, epochs=epochs, schedule=drops),
        views=(View(size=32, scale=(0.5, 1.0), flip=0.0),),
        batch_size=64,
        pooled=pooled,
        precision="bf16",
    )
    return replace(protocol, settings=given)


DEMO = tuple(_small(protocol, epochs=8, pooled=1024) for protocol in PAPER)
SMOKE = tuple(_small(protocol, epochs=4, pooled=512) for protocol in PAPER)
