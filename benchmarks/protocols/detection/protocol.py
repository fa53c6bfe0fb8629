"""Object detection by fine-tuning: Faster R-CNN C4 on PASCAL VOC 07+12 and Mask R-CNN FPN on COCO 2017.

The settings are those of MMSelfSup's faster_rcnn_r50_c4_mstrain_24k and mask_rcnn_r50_fpn_mstrain_1x, trained
and tested by mmdet in a process of its own. VOC's mAP is the mean of the eleven-point AP over ten IoU
thresholds, as in detectron2, so that it is not a copy of AP50, as it is in MMSelfSup's tables.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contract.protocol import LIBRARIES, Protocol
from benchmarks.contract.table import Column, Table
from benchmarks.mm.bridge.archs import RESNETS
from benchmarks.mm.bridge.launch import missing
from benchmarks.mm.bridge.settings import Detection
from benchmarks.mm.checks import inventory
from pretrain.base.settings import changed

# mmcv brings compiled operators, mmcv-lite none: which of the two is there says where they come from.
PACKAGES = (
    *LIBRARIES,
    "torchvision",
    "mmengine",
    "mmdet",
    "mmcv",
    "mmcv-lite",
    "pycocotools",
    "opencv-python",
)
SECTION = "Detection"

VOC0712 = Protocol(
    name="voc0712_detection",
    title="PASCAL VOC 07+12 detection, Faster R-CNN C4",
    source="MMSelfSup 0.x, faster_rcnn_r50_c4_mstrain_24k_voc0712; MoCo's detection benchmark",
    settings=Detection(
        model="faster_rcnn_c4",
        train_lists=("VOC2007/trainval", "VOC2012/trainval"),
        test_list="VOC2007/test",
        counts=(16_551, 4_952),
        unit="iterations",
        length=24_000,
        drops=(18_000, 22_000),
        warmup=100,
        train_sides=tuple(range(480, 801, 32)),
        proposals_train=(12_000, 2_000),
        proposals_test=(6_000, 1_000),
    ),
    roots=("VOCdevkit",),
    inventory=inventory.of,
    report_on="test",
    choose="last",
    frozen=False,
    packages=PACKAGES,
    unavailable=missing,
    archs=RESNETS,
    table=Table(
        heading="Pascal VOC 2007 + 2012",
        section=SECTION,
        intro="mAP is the mean over IoU 0.50 to 0.95, AP50 the value at 0.50.",
    ),
    columns=(Column("mAP", "mAP"), Column("AP50", "AP50")),
    place=60,
)
COCO17 = Protocol(
    name="coco17_detection",
    title="COCO 2017 detection and instance segmentation, Mask R-CNN FPN 1x",
    source="MMSelfSup 0.x, mask_rcnn_r50_fpn_mstrain_1x_coco",
    settings=Detection(
        model="mask_rcnn_fpn",
        train_lists=("train2017",),
        test_list="val2017",
        counts=(118_287, 5_000),
        unit="epochs",
        length=12,
        drops=(8, 11),
        warmup=1_000,
        train_sides=tuple(range(640, 801, 32)),
        proposals_train=(2_000, 1_000),
        proposals_test=(1_000, 1_000),
    ),
    roots=("coco",),
    inventory=inventory.of,
    report_on="val",
    choose="last",
    frozen=False,
    packages=PACKAGES,
    unavailable=missing,
    archs=RESNETS,
    table=Table(heading="COCO2017", section=SECTION),
    columns=tuple(
        Column(f"m{name}({kind})" if name == "AP" else f"{name}({kind})", f"{kind.lower()}_{name}", digits=1)
        for kind in ("Box", "Mask")
        for name in ("AP", "AP50", "AP75")
    ),
    place=61,
)
PAPER = (VOC0712, COCO17)


def _small(protocol: Protocol, length: int, drops: tuple[int, ...], warmup: int) -> Protocol:
    """The same detector on the embedded scenes, whose digits have at 64 px the size that the backbone was
    trained at.

    Digits are not mirrored; regions and widths are a few per cent of the paper's. Most of the time goes into
    regions: fewer of them in a step teach more in the same time, and what C4 cuts out of a map of 4 x 4 cells
    fills no 14 x 14.
    """
    settings = changed(
        protocol.settings,
        counts=(0, 0),
        batch_size=4,
        reference_batch=4,
        length=length,
        drops=drops,
        warmup=warmup,
        train_sides=(64,),
        test_side=64,
        long_side=96,
        flip=0.0,
        proposals_train=(200, 64),
        proposals_test=(200, 64),
        anchor_samples=64,
        roi_samples=16,
        region=8,
        neck_channels=32,
        hidden=128,
    )
    return replace(protocol, settings=settings)


DEMO = (_small(VOC0712, 160, (120, 145), 20), _small(COCO17, 3, (2,), 20))
# A few steps each, for trying them; the smoke suite leaves them out: each starts a process and imports mmdet.
TINY = (_small(VOC0712, 20, (15, 18), 5), _small(COCO17, 1, (), 5))
SMOKE: tuple[Protocol, ...] = ()
