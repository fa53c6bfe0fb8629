"""Weighted nearest neighbours on frozen features (Wu et al., CVPR 2018; settings of DINO and MMSelfSup).

Features are the global average of the last map, L2-normalised, from the centre view for both splits. Each of
the k nearest training images by cosine votes for its class with weight exp(cosine / T). All k are reported;
none is chosen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.table import Column, Table
from pretrain.base.settings import AbovePositive, Positive, settings

KS = (10, 20, 100, 200)


@settings
class KnnSettings:
    """ks: neighbours, each a column; temperature: T.

    Raises ValueError on ks that do not rise.
    """

    ks: Annotated[tuple[Positive, ...], Field(min_length=1)] = KS
    temperature: AbovePositive = 0.07

    def __post_init__(self) -> None:
        if list(self.ks) != sorted(set(self.ks)):
            raise ValueError(f"ks must rise, got {list(self.ks)}")


def columns(settings: KnnSettings) -> tuple[Column, ...]:
    """One for each k."""
    return tuple(Column(f"k={k}", f"k{k}_top1", digits=1) for k in settings.ks)


PAPER = (
    Protocol(
        name="imagenet_knn",
        title="ImageNet k-NN",
        version=2,  # no number where k is more than the training images
        source="Wu et al. 2018, arXiv 1805.01978; T = 0.07, k = 10, 20, 100, 200 as in MMSelfSup 0.8",
        settings=KnnSettings(),
        data={"train": "imagenet/train", "val": "imagenet/val"},
        report_on="val",
        choose="all k are reported",
        table=Table(
            heading="ImageNet Nearest-Neighbor Classification",
            intro="Weighted nearest neighbours on the globally averaged features. Top-1 accuracy in percent.",
        ),
        columns=columns(KnnSettings()),
        columns_of=columns,
        place=40,
        together=True,
        kept=lambda settings: 4 * 2048,
    ),
)
DEMO = PAPER
SMOKE = DEMO


def _cifar(classes: int, place: int) -> Protocol:
    """The same on CIFAR; solo-learn's k-NN has k = 20 and T = 0.07, too."""
    title = f"CIFAR-{classes}"
    return replace(
        PAPER[0],
        name=f"cifar{classes}_knn",
        title=f"{title} k-NN",
        data={"train": f"cifar{classes}/train", "val": f"cifar{classes}/test"},
        table=replace(PAPER[0].table, heading=f"{title} Nearest-Neighbor Classification"),
        place=place,
        kept=lambda settings: 4 * 512,
    )


CIFAR = (_cifar(10, 41), _cifar(100, 43))
