"""Settings of the detection and segmentation benchmarks; no torch and no mm package here.

Learning rate, warm-up and lengths are stated for `reference_batch` images per step. Another `batch_size` multiplies
the rate by batch_size / reference_batch and divides every count of iterations by it (Goyal et al. 2017; for VOC
detection MoCo's authors give the same rule). The number of GPUs alone changes nothing: batch norm sees the whole
batch on any number of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pretrain.faults import Fault


@dataclass(frozen=True, kw_only=True)
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
    train_lists: tuple[str, ...]
    test_list: str
    counts: tuple[int, int]
    batch_size: int = 16
    reference_batch: int = 16
    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4
    unit: Literal["iterations", "epochs"]
    length: int
    drops: tuple[int, ...]
    warmup: int
    train_sides: tuple[int, ...]
    test_side: int = 800
    long_side: int = 1333
    flip: float = 0.5
    proposals_train: tuple[int, int]
    proposals_test: tuple[int, int]
    anchor_samples: int = 256
    roi_samples: int = 512
    region: int = 14
    neck_channels: int = 256
    hidden: int = 1024


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """A fully convolutional network's training and test. Sides in pixels, `iterations` at `reference_batch`.

    train_lists, test_list: for VOC (NAME of ImageSets/Segmentation, folder of masks), for Cityscapes (folder, "");
    scale: long and short side that images are fitted into, in training times a factor within `ratio`; crop: side of
    the square that training sees; flip: probability of a mirrored training image; window_stride: step of the square
    window at test, 0 for whole images; output_stride: pixels per cell of the last map, by dilation;
    head_channels, side_channels: width of the head on the last stage and of the auxiliary one before it;
    classes: ids 0 to classes - 1 are scored, 255 is ignored; counts: expected training and test images, or (0, 0).
    """

    layout: Literal["voc", "cityscapes"]
    train_lists: tuple[tuple[str, str], ...]
    test_list: tuple[str, str]
    counts: tuple[int, int]
    classes: int
    batch_size: int
    reference_batch: int
    lr: float = 0.01
    min_lr: float = 1e-4
    momentum: float = 0.9
    weight_decay: float = 5e-4
    iterations: int
    scale: tuple[int, int]
    ratio: tuple[float, float] = (0.5, 2.0)
    crop: int
    flip: float = 0.5
    window_stride: int
    align_corners: bool
    output_stride: int = 8
    head_channels: int = 512
    side_channels: int = 256


@dataclass(frozen=True)
class Schedule:
    """What one process group runs: images per GPU and step, rate, and counts at that batch."""

    per_gpu: int
    lr: float
    length: int
    drops: tuple[int, ...]
    warmup: int


def schedule(settings: Detection | Segmentation, gpus: int) -> Schedule:
    """The schedule on `gpus` processes by the linear rule. Raises Fault where the batch does not divide."""
    if settings.batch_size % gpus:
        raise Fault("bad-config", f"batch_size {settings.batch_size} does not divide over {gpus} GPUs; change either")
    factor = settings.batch_size / settings.reference_batch
    if isinstance(settings, Detection):
        length, drops, warmup = settings.length, settings.drops, settings.warmup
        stretch = 1.0 if settings.unit == "epochs" else 1.0 / factor
    else:
        length, drops, warmup = settings.iterations, (), 0
        stretch = 1.0 / factor
    return Schedule(
        per_gpu=settings.batch_size // gpus,
        lr=settings.lr * factor,
        length=round(length * stretch),
        drops=tuple(round(drop * stretch) for drop in drops),
        warmup=round(warmup / factor),
    )
