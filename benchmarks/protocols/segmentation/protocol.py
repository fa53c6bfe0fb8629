"""Semantic segmentation by fine-tuning: a fully convolutional network on VOC 2012 (augmented) and Cityscapes.

The settings are those of MMSelfSup's fcn_r50-d8_512x512_20k_voc12aug and fcn_r50-d8_769x769_40k_cityscapes,
trained and tested by mmseg in a process of its own, on the plain ResNet of the checkpoint.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contract.protocol import LIBRARIES, Protocol
from benchmarks.contract.table import Column, Table
from benchmarks.mm.bridge.archs import RESNETS
from benchmarks.mm.bridge.launch import missing
from benchmarks.mm.bridge.settings import Segmentation
from benchmarks.mm.checks import inventory
from pretrain.base.settings import changed

PACKAGES = (*LIBRARIES, "torchvision", "mmengine", "mmsegmentation", "mmcv", "mmcv-lite", "opencv-python")
SECTION = "Segmentation"

VOC12AUG = Protocol(
    name="voc12aug_segmentation",
    title="PASCAL VOC 2012 + Aug segmentation, FCN d8",
    source="MMSelfSup 0.x, fcn_r50-d8_512x512_20k_voc12aug",
    settings=Segmentation(
        layout="voc",
        train_lists=(("train", "SegmentationClass"), ("aug", "SegmentationClassAug")),
        test_list=("val", "SegmentationClass"),
        counts=(10_582, 1_449),
        classes=21,
        batch_size=16,
        reference_batch=16,
        iterations=20_000,
        scale=(2048, 512),
        crop=512,
        window_stride=0,
        align_corners=False,
    ),
    roots=("VOCdevkit",),
    inventory=inventory.of,
    report_on="val",
    choose="last",
    frozen=False,
    packages=PACKAGES,
    unavailable=missing,
    archs=RESNETS,
    table=Table(heading="Pascal VOC 2012 + Aug", section=SECTION),
    columns=(Column("mIOU", "mIoU"),),
    place=70,
)
CITYSCAPES = replace(
    VOC12AUG,
    name="cityscapes_segmentation",
    title="Cityscapes segmentation, FCN d8",
    source="MMSelfSup 0.x, fcn_r50-d8_769x769_40k_cityscapes",
    settings=Segmentation(
        layout="cityscapes",
        train_lists=(("train", ""),),
        test_list=("val", ""),
        counts=(2_975, 500),
        classes=19,
        batch_size=8,
        reference_batch=8,
        iterations=40_000,
        scale=(2049, 1025),
        crop=769,
        window_stride=513,
        align_corners=True,
    ),
    roots=("cityscapes",),
    table=Table(heading="Cityscapes", section=SECTION),
    place=71,
)
PAPER = (VOC12AUG, CITYSCAPES)


def _small(protocol: Protocol, iterations: int, scale: tuple[int, int], window_stride: int) -> Protocol:
    """The same network on the embedded scenes: eleven classes, background and ten digits, which are not
    mirrored.

    Strokes are three pixels wide, so the last map keeps four pixels per cell; so few steps ask for a higher
    rate.
    """
    settings = changed(
        protocol.settings,
        counts=(0, 0),
        classes=11,
        batch_size=8,
        reference_batch=8,
        lr=0.1,
        weight_decay=1e-4,
        iterations=iterations,
        scale=scale,
        ratio=(0.8, 1.5),
        crop=64,
        flip=0.0,
        window_stride=window_stride,
        output_stride=4,
        head_channels=64,
        side_channels=32,
        precision="bf16",
    )
    return replace(protocol, settings=settings)


DEMO = (_small(VOC12AUG, 700, (256, 64), 0), _small(CITYSCAPES, 700, (129, 65), 48))
# A few steps each, for trying them; the smoke suite leaves them out: each starts a process and imports mmseg.
TINY = (_small(VOC12AUG, 20, (256, 64), 0), _small(CITYSCAPES, 20, (129, 65), 48))
SMOKE: tuple[Protocol, ...] = ()
