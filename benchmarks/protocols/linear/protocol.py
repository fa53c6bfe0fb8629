"""Linear evaluation of every depth: Feature1-5 and two AvgPool heads on one frozen backbone, in one pass.

Feature1-5 are the multi-head protocol of FAIR's benchmark as OpenSelfSup ran it: pooled maps of about 9,000
values, batch norm without scale and shift, SGD with Nesterov momentum; the last epoch is reported. AvgPool is
a linear layer on the global average, without batch norm, in its two published settings: MoCo's (learning rate
30, no weight decay, drops) and SwAV's (learning rate 0.3, weight decay 1e-6, cosine), which methods differ in
by several points; the best epoch is reported, as both did, and the last beside it. Where all want the same
augmentation they share the forward pass of the backbone; where they do not (ImageNet: colour jitter and
lighting for Feature1-5 only), the two versions of a batch go through it together. iNaturalist 2018 and
Places205 have no published AvgPool setting: ours are those two on the epochs of the data set. CIFAR has
solo-learn's AvgPool of ImageNet-100 in place of MoCo's.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.table import Column, Table
from benchmarks.solvers.training import Solver, Training
from pretrain.base.settings import changed, settings
from pretrain.data.view import View
from pretrain.train.recipe import Cosine, Step

FEATURES = ("Feature1", "Feature2", "Feature3", "Feature4", "Feature5")
AVERAGES = {"AvgPool": "AvgPool (MoCo)", "AvgPool_SwAV": "AvgPool (SwAV)"}  # head -> heading of its column


@settings
class LinearSettings(Training):
    """features, average, average_swav: solvers of Feature1-5, and of AvgPool in MoCo's and in SwAV's setting;
    views: the last one is that of both AvgPools.
    """

    features: Solver
    average: Solver
    average_swav: Solver


_HEADS = Solver(lr=0.01, weight_decay=1e-4, nesterov=True, epochs=90, schedule=Step(milestones=(30, 60, 90)))
_MOCO = Solver(lr=30.0, weight_decay=0.0, nesterov=False, epochs=100, schedule=Step(milestones=(60, 80)))
_SWAV = Solver(lr=0.3, weight_decay=1e-6, nesterov=False, epochs=100, schedule=Cosine())
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
        choose="Feature1-5: last epoch; both AvgPools: best epoch on val, as published",
        table=Table(heading=f"{heading} Linear Evaluation", intro=intro),
        columns=(
            *(Column(name, f"{name}_top1") for name in FEATURES),
            *(Column(heading, f"{name}_top1") for name, heading in AVERAGES.items()),
        ),
        place=place,
        together=True,
    )


def _schedule(epochs: int, milestones: tuple[int, ...], view: View) -> LinearSettings:
    features = changed(_HEADS, epochs=epochs, schedule=Step(milestones=milestones))
    average = changed(_MOCO, epochs=epochs, schedule=Step(milestones=milestones))
    swav = changed(_SWAV, epochs=epochs)
    return LinearSettings(features=features, average=average, average_swav=swav, views=(view,))


_OWN = (
    "AvgPool has no published setting here: ours are MoCo's and SwAV's on the epochs of Feature1-5. Top-1 accuracy "
    "in percent."
)


PAPER = (
    _on(
        "imagenet",
        20,
        "ImageNet linear",
        "ImageNet",
        "Goyal et al. 2019 and OpenSelfSup (Feature1-5), He et al. 2020 and Caron et al. 2020 (AvgPool)",
        LinearSettings(
            features=_HEADS,
            average=_MOCO,
            average_swav=_SWAV,
            views=(changed(_PLAIN, jitter=(0.4, 0.4, 0.4, 0.0), lighting=0.1), _PLAIN),
        ),
        "Feature1 to Feature5 are linear classifiers on pooled maps of the stem and the four stages; AvgPool is one on "
        "the global average of the last map, trained as MoCo does (learning rate 30, drops) and as SwAV does (learning "
        "rate 0.3, cosine): compare numbers of one setting only. Top-1 accuracy in percent.",
    ),
    _on(
        "inat18",
        22,
        "iNaturalist 2018 linear",
        "iNaturalist2018",
        "MMSelfSup 0.x, resnet50_mhead_8xb32-steplr-84e_inat18",
        _schedule(84, (24, 48, 72), _PLAIN),
        _OWN,
    ),
    _on(
        "places205",
        23,
        "Places205 linear",
        "Places205",
        "OpenSelfSup and MMSelfSup 0.x, resnet50_mhead_8xb32-steplr-28e_places205",
        _schedule(28, (7, 14, 21), View(size=224, geometry="random-crop", resize=256)),
        _OWN,
    ),
)


_DIGITS = View(size=32, scale=(0.5, 1.0), flip=0.0)
_PHOTOGRAPHS = View(size=32, scale=(0.2, 1.0))


def _small(protocol: Protocol, epochs: int, pooled: int, view: View = _DIGITS) -> Protocol:
    """The same on few images, of digits that are not flipped: learning rates suit a narrow network."""
    drops = Step(milestones=(epochs // 2, epochs * 3 // 4))
    given = LinearSettings(
        features=changed(_HEADS, epochs=epochs, schedule=drops),
        average=changed(_MOCO, lr=1.0, epochs=epochs, schedule=drops),
        average_swav=changed(_SWAV, epochs=epochs),
        views=(view,),
        batch_size=64,
        pooled=pooled,
        precision="bf16",
    )
    return replace(protocol, settings=given)


PHOTOS = tuple(_small(protocol, epochs=20, pooled=2048, view=_PHOTOGRAPHS) for protocol in PAPER)
DEMO = tuple(_small(protocol, epochs=8, pooled=1024) for protocol in PAPER)
SMOKE = tuple(_small(protocol, epochs=4, pooled=512) for protocol in PAPER)


def _cifar(classes: int, place: int) -> Protocol:
    """On CIFAR. AvgPool: vturrisi/solo-learn 9187ea3, scripts/linear/imagenet-100/swav.yaml, and the crops of
    solo/data/classification_dataloader.py; it has no script for CIFAR, whose published numbers are online.
    """
    drops = Step(milestones=(60, 80))
    given = LinearSettings(
        features=changed(_HEADS, epochs=100, schedule=drops),
        average=changed(_MOCO, lr=0.15),
        average_swav=_SWAV,
        views=(View(size=32),),
    )
    made = _on(
        f"cifar{classes}",
        place,
        f"CIFAR-{classes} linear",
        f"CIFAR-{classes}",
        "solo-learn 9187ea3 on ImageNet-100 and Caron et al. 2020 (AvgPool), Goyal et al. 2019 (Feature1-5)",
        given,
        "Feature1 to Feature5 are linear classifiers on pooled maps of the stem and the four stages; AvgPool is "
        "one on the global average of the last map, in solo-learn's setting of ImageNet-100 (learning rate 0.15, "
        "drops) and in SwAV's (learning rate 0.3, cosine). Published numbers are of a classifier that was "
        "trained along with the network. Accuracy in percent, top-1 unless it says top-5.",
    )
    return replace(
        made,
        data={"train": f"cifar{classes}/train", "val": f"cifar{classes}/test"},
        choose="Feature1-5: last epoch; both AvgPools: best epoch on test",
        columns=(
            *(Column(name, f"{name}_top1") for name in FEATURES),
            Column("AvgPool (solo-learn)", "AvgPool_top1"),
            Column("AvgPool (solo-learn), top-5", "AvgPool_top5"),
            Column("AvgPool (SwAV)", "AvgPool_SwAV_top1"),
        ),
    )


CIFAR = (_cifar(10, 24), _cifar(100, 25))
