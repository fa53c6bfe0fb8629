"""Settings of the detection and segmentation benchmarks; no torch and no mm package here.

Learning rate, warm-up and lengths are stated for `reference_batch` images per step. Another `batch_size`
multiplies the rate by batch_size / reference_batch and divides every count of iterations by it (Goyal et al.
2017; for VOC detection MoCo's authors give the same rule). The number of GPUs alone changes nothing: batch
norm sees the whole batch on any number of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pretrain.base.faults import Fault
from pretrain.base.settings import AbovePositive, Count, Positive, Probability, Rate, added, settings

Momentum = Annotated[float, Field(ge=0, lt=1)]


@settings
class Detection:
    """A detector's training and test. Sides in pixels; `length`, `drops` in `unit`, `warmup` in iterations.

    train_lists, test_list: for VOC `YEAR/NAME` of ImageSets/Main, for COCO the NAME of instances_NAME.json;
    train_sides, test_side: short sides (training draws one per image), the long one is at most `long_side`;
    flip: probability of a mirrored training image;
    proposals_train, proposals_test: boxes of the proposal network before and after suppression;
    anchor_samples, roi_samples: anchors and regions per image that enter the losses;
    region: side in cells that C4 cuts a region out at;
    neck_channels, hidden: width of the feature pyramid and its heads, and of their fully connected layer;
    counts: expected images in the training lists and in the test list, or (0, 0).
    """

    model: Literal["faster_rcnn_c4", "mask_rcnn_fpn"]
    train_lists: Annotated[tuple[str, ...], Field(min_length=1)]
    test_list: str
    counts: tuple[Count, Count]
    batch_size: Positive = 16
    reference_batch: Positive = 16
    lr: Rate = 0.02
    momentum: Momentum = 0.9
    weight_decay: Rate = 1e-4
    unit: Literal["iterations", "epochs"]
    length: Positive
    drops: tuple[Positive, ...]
    warmup: Count
    train_sides: Annotated[tuple[Positive, ...], Field(min_length=1)]
    test_side: Positive = 800
    long_side: Positive = 1333
    flip: Probability = 0.5
    proposals_train: tuple[Positive, Positive]
    proposals_test: tuple[Positive, Positive]
    anchor_samples: Positive = 256
    roi_samples: Positive = 512
    region: Annotated[int, Field(ge=2)] = 14
    neck_channels: Positive = 256
    hidden: Positive = 1024

    def __post_init__(self) -> None:
        if late := [drop for drop in self.drops if drop > self.length]:
            raise ValueError(
                f"drops: the rate would never drop at {late}, beyond the length of {self.length}; set both"
            )


@settings
class Segmentation:
    """A fully convolutional network's training and test. Sides in pixels, `iterations` at `reference_batch`.

    train_lists, test_list: for VOC (NAME of ImageSets/Segmentation, folder of masks), for Cityscapes (folder,
    ""); scale: long and short side that images are fitted into, in training times a factor within `ratio`;
    crop: side of the square that training sees; flip: probability of a mirrored training image;
    window_stride: step of the square window at test, 0 for whole images; output_stride: pixels per cell of
    the last map, by dilation; head_channels, side_channels: width of the head on the last stage and of the
    auxiliary one before it; classes: ids 0 to classes - 1 are scored, 255 is ignored; counts: expected
    training and test images, or (0, 0); precision: of the network in training, bf16 where the device has it;
    tests are in fp32.
    """

    layout: Literal["voc", "cityscapes"]
    train_lists: Annotated[tuple[tuple[str, str], ...], Field(min_length=1)]
    test_list: tuple[str, str]
    counts: tuple[Count, Count]
    classes: Positive
    batch_size: Positive
    reference_batch: Positive
    lr: Rate = 0.01
    min_lr: Rate = 1e-4
    momentum: Momentum = 0.9
    weight_decay: Rate = 5e-4
    iterations: Positive
    scale: tuple[Positive, Positive]
    ratio: tuple[AbovePositive, AbovePositive] = (0.5, 2.0)
    crop: Positive
    flip: Probability = 0.5
    window_stride: Count
    align_corners: bool
    output_stride: Literal[1, 2, 4, 8, 16, 32] = 8
    head_channels: Positive = 512
    side_channels: Positive = 256
    precision: Literal["fp32", "bf16"] = added("fp32")


@dataclass(frozen=True)
class Schedule:
    """What one process group runs: images per GPU and step, rate, and counts at that batch."""

    per_gpu: int
    lr: float
    length: int
    drops: tuple[int, ...]
    warmup: int


def schedule(of: Detection | Segmentation, gpus: int) -> Schedule:
    """The schedule on `gpus` processes by the linear rule. Raises Fault where the batch does not divide."""
    if of.batch_size % gpus:
        raise Fault(
            "bad-config", f"batch_size {of.batch_size} does not divide over {gpus} GPUs; change either"
        )
    factor = of.batch_size / of.reference_batch
    if isinstance(of, Detection):
        length, drops, warmup = of.length, of.drops, of.warmup
        stretch = 1.0 if of.unit == "epochs" else 1.0 / factor
    else:
        length, drops, warmup = of.iterations, (), 0
        stretch = 1.0 / factor
    return Schedule(
        per_gpu=of.batch_size // gpus,
        lr=of.lr * factor,
        length=round(length * stretch),
        drops=tuple(round(drop * stretch) for drop in drops),
        warmup=round(warmup / factor),
    )
