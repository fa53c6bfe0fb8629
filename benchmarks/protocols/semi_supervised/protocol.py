"""Semi-supervised fine-tuning on 1 % and 10 % of the labels: a 3 x 3 grid of learning rates, the best is
reported.

OpenSelfSup's and MMSelfSup's recipe: backbone, global average, linear head, everything trains (batch norm
too), 20 epochs, SGD with drops by 0.2 after epochs 12 and 16. The field picks the best of nine by top-1 on
the validation split; that is the number here. Beside it stands an honest one: the setting picked on a fifth
of the labelled images held out from a second run of the grid. A backbone with a Sobel front-end has one
published setting, learning rate 0.01 with multiplier 1, and gets that one: nothing is chosen for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.table import Column, Table
from pretrain.base.settings import AbovePositive, Positive, Rate, changed, settings
from pretrain.data.view import View
from pretrain.train.recipe import Schedule, Scheduled, Step


@settings
class SemiSettings(Scheduled):
    """lrs x head_multipliers is the grid; honest: also choose on held-out training images (doubles the cost);
    sobel: the one (lr, multiplier) of a backbone with a Sobel front-end, None: it gets the grid, too.

    Raises ValueError on a rate or multiplier given twice.
    """

    weight_decay: Rate
    view: View
    lrs: Annotated[tuple[AbovePositive, ...], Field(min_length=1)] = (0.1, 0.01, 0.001)
    head_multipliers: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 10, 100)
    sobel: tuple[AbovePositive, Positive] | None = None
    epochs: Positive = 20
    schedule: Schedule = Step(milestones=(12, 16), gamma=0.2)
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    batch_size: Positive = 256
    precision: Literal["fp32", "bf16"] = "fp32"
    honest: bool = True
    held_out: Annotated[int, Field(ge=2)] = 5  # every fifth labelled image of each class

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lrs", "head_multipliers"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise ValueError(
                    f"{name} must differ from each other, got {list(given)}; leave out the repeated"
                )


TABLE = Table(
    heading="Semi-Supervised Classification",
    intro="The backbone gets a linear classifier and everything is fine-tuned on 1 % or 10 % of the labels, with a "
    "grid of settings: learning rates, and multipliers of them for the classifier. The best setting is shown.",
    config="Pretrain Config",
)


def _percent(percent: str, place: int, title: str, weight_decay: float) -> Protocol:
    return Protocol(
        name=f"imagenet_{percent}pct",
        title=title,
        source="OpenSelfSup and MMSelfSup 0.x, imagenet_1percent and imagenet_10percent; lists of SimCLR",
        version=2,  # one setting for Sobel backbones, deterministic cuDNN
        settings=SemiSettings(weight_decay=weight_decay, view=View(size=224), sobel=(0.01, 1)),
        data={"train": f"imagenet/train_{percent}percent", "val": "imagenet/val"},
        report_on="val",
        choose="best of nine settings by top-1 on val, last epoch, as published; Sobel: one setting",
        frozen=False,
        table=TABLE,
        columns=(
            Column("Fine-tuned Config", "top1", show="choice"),
            Column("Top-1 (%)", "top1"),
            Column("Top-5 (%)", "top5"),
        ),
        row=f"{percent} %",
        place=place,
        together=True,
    )


PAPER = (
    _percent("1", 30, "ImageNet 1 % semi-supervised", 5e-4),
    _percent("10", 31, "ImageNet 10 % semi-supervised", 1e-4),
)


_DIGITS = View(size=32, scale=(0.5, 1.0), flip=0.0)


def _small(protocol: Protocol, epochs: int, drops: tuple[int, int], view: View = _DIGITS) -> Protocol:
    """The same grid on few images, for Sobel too, of digits that are not flipped; batches fit the lists."""
    given = changed(
        protocol.settings,
        view=view,
        epochs=epochs,
        schedule=Step(milestones=drops, gamma=0.2),
        batch_size=32,
        precision="bf16",
        honest=False,
        sobel=None,
    )
    return replace(protocol, settings=given)


PHOTOS = tuple(_small(one, 20, (12, 16), View(size=32, scale=(0.2, 1.0))) for one in PAPER)
DEMO = (_small(PAPER[0], 20, (12, 16)), _small(PAPER[1], 5, (3, 4)))
SMOKE = (_small(PAPER[0], 4, (2, 3)), _small(PAPER[1], 2, (1, 2)))
