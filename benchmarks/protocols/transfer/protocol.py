"""Linear transfer as VISSL measures it: seven heads on one frozen backbone, the best layer is reported.

The heads stand on the pooled maps of the stem and the four stages and on the global average of the last, each
behind a batch norm with scale and shift; one more stands on the average without it. 28 epochs of SGD with
Nesterov momentum, on crops and flips alone; the last epoch counts. This is how VISSL's model zoo has measured
DeepClusterV2 (75.18, 74.32 and 70.01 for its three trainings) and SwAV.

The facts are those of VISSL's eval_resnet_8gpu_transfer_in1k_linear.yaml: 8 GPUs of 32 images whose batch
norms are synchronised, here one batch of 256; the learning rate holds for it and is scaled by nothing.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.table import Column, Table
from benchmarks.solvers.training import Solver, Training
from pretrain.base.settings import changed, settings
from pretrain.data.view import View
from pretrain.train.recipe import Step

MAPS = ("conv1", "res2", "res3", "res4", "res5")  # Feature1-5 in VISSL's words
FIXED = "res5avg"  # the layer that is looked at where none is chosen
BARE = "res5avg_bare"  # the same without batch norm
LAYERS = {**{name: name for name in (*MAPS, FIXED)}, BARE: "res5avg (no BN)"}  # head -> heading of its column


@settings
class TransferSettings(Training):
    """solver: of every head."""

    solver: Solver


PAPER = (
    Protocol(
        name="imagenet_transfer",
        title="ImageNet linear transfer (VISSL)",
        source="VISSL, eval_resnet_8gpu_transfer_in1k_linear",
        settings=TransferSettings(
            solver=Solver(
                lr=0.01, weight_decay=5e-4, nesterov=True, epochs=28, schedule=Step(milestones=(8, 16, 24))
            ),
            views=(View(size=224),),
        ),
        data={"train": "imagenet/train", "val": "imagenet/val"},
        report_on="val",
        choose="best of seven layers by top-1 on val, last epoch, as published",
        table=Table(
            heading="ImageNet Linear Transfer (VISSL)",
            intro="Linear classifiers on pooled maps of the stem (conv1) and the four stages, and on the global "
            "average of the last (res5avg), all but one behind a batch norm. Top-1 is that of the best layer, in "
            "percent.",
        ),
        columns=(
            Column("Best Layer", "top1", show="choice"),
            Column("Top-1", "top1"),
            *(Column(heading, f"{name}_top1") for name, heading in LAYERS.items()),
        ),
        place=21,  # behind imagenet_linear
        together=True,
    ),
)


_DIGITS = View(size=32, scale=(0.5, 1.0), flip=0.0)
_PHOTOGRAPHS = View(size=32, scale=(0.2, 1.0))


def _small(protocol: Protocol, epochs: int, pooled: int, view: View = _DIGITS) -> Protocol:
    """The same on few images, of digits that are not flipped: batches and maps are small."""
    drops = Step(milestones=(epochs // 2, epochs * 3 // 4))
    given = changed(
        protocol.settings,
        solver=changed(protocol.settings.solver, epochs=epochs, schedule=drops),
        views=(view,),
        batch_size=64,
        pooled=pooled,
        precision="bf16",
    )
    return replace(protocol, settings=given)


PHOTOS = (_small(PAPER[0], epochs=20, pooled=2048, view=_PHOTOGRAPHS),)
DEMO = (_small(PAPER[0], epochs=8, pooled=1024),)
SMOKE = (_small(PAPER[0], epochs=4, pooled=512),)
