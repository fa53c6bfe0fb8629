"""A dilated fully convolutional network on VOC 2012 and
Cityscapes: mmseg's own configurations and what differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from benchmarks.mm.bridge.job import Job
from benchmarks.mm.bridge.settings import Schedule, Segmentation, schedule
from benchmarks.mm.worker import config, precision
from benchmarks.mm.worker.backbone import shape
from benchmarks.mm.worker.data import Data
from pretrain.nets import checkpoint

SHIPPED = {
    "voc": "fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py",
    "cityscapes": "fcn/fcn_r50-d8_4xb2-40k_cityscapes-769x769.py",
}
IGNORED = 255


def build(job: Job, settings: Segmentation, data: Data) -> Config:
    """The complete configuration of a segmentation network on checked data."""
    plan = schedule(settings, job.processes)
    cfg = config.shipped("mmseg", SHIPPED[settings.layout])
    _model(cfg.model, job.weights, settings)
    _data(cfg, settings, data)
    _lengths(cfg, settings, plan)
    if settings.precision == "bf16":
        cfg.optim_wrapper.type = precision.BF16
    return config.complete(cfg, job, plan)


def _model(model: Any, weights: Path, settings: Segmentation) -> None:
    """The plain ResNet of the checkpoint, not mmseg's deep-stem V1c, and none of mmseg's own weights."""
    channels = shape(weights).channels
    size = (settings.crop, settings.crop)
    model.pop("pretrained")
    model.data_preprocessor.update(config.pixels(checkpoint.describe(weights)), size=size)
    model.backbone = {"type": "ZooBackbone", "weights": str(weights), "output_stride": settings.output_stride}
    common = {"num_classes": settings.classes, "align_corners": settings.align_corners}
    model.decode_head.update(in_channels=channels[3], channels=settings.head_channels, **common)
    model.auxiliary_head.update(in_channels=channels[2], channels=settings.side_channels, **common)
    window = {"mode": "slide", "crop_size": size, "stride": (settings.window_stride, settings.window_stride)}
    model.test_cfg = window if settings.window_stride else {"mode": "whole"}


def _data(cfg: Config, settings: Segmentation, data: Data) -> None:
    size = (settings.crop, settings.crop)
    # No Pad step: the preprocessor pads after normalising, so that padding is the mean colour, and with 255
    # in masks.
    train_pipeline = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations"},
        {"type": "RandomResize", "scale": settings.scale, "ratio_range": settings.ratio, "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": size, "cat_max_ratio": 0.75},
        {"type": "RandomFlip", "prob": settings.flip},
        {"type": "PhotoMetricDistortion"},
        {"type": "PackSegInputs"},
    ]
    test_pipeline = [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": settings.scale, "keep_ratio": True},
        {"type": "LoadAnnotations"},
        {"type": "PackSegInputs"},
    ]
    sets = [{**one, "pipeline": train_pipeline} for one in data.train]
    cfg.train_dataloader.dataset = {"type": "ConcatDataset", "datasets": sets} if len(sets) > 1 else sets[0]
    cfg.val_dataloader.dataset = {**data.test, "pipeline": test_pipeline, "test_mode": True}
    cfg.val_evaluator = {"type": "MeanIoU", "ignore_index": IGNORED}


def _lengths(cfg: Config, settings: Segmentation, plan: Schedule) -> None:
    cfg.train_cfg = {"type": "IterBasedTrainLoop", "max_iters": plan.length}
    (decay,) = cfg.param_scheduler
    decay.update(end=plan.length, eta_min=settings.min_lr * plan.lr / settings.lr)
