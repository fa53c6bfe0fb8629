"""Faster R-CNN C4 on VOC and Mask R-CNN FPN on COCO:
mmdet's own configurations and what differs from them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from benchmarks.mm.bridge.job import Job
from benchmarks.mm.bridge.settings import Detection, Schedule, schedule
from benchmarks.mm.worker import config
from benchmarks.mm.worker.backbone import shape
from benchmarks.mm.worker.data import Data
from pretrain.nets import checkpoint

C4 = "pascal_voc/faster-rcnn_r50-caffe-c4_ms-18k_voc0712.py"
FPN = "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"
SYNC = {"type": "SyncBN", "requires_grad": True}
# Images a GPU up to which all their maps are kept: of 800 x 1344 px 4.6 GB each for C4, counted on the CPU;
# the published runs gave each GPU two. Of more, the maps are computed again, which leaves 0.9 GB: 16 on one
# GPU cannot be split in parts, since batch norm sees all of them at once.
HELD = 4


def build(job: Job, settings: Detection, data: Data) -> Config:
    """The complete configuration of a detector on checked data."""
    plan = schedule(settings, job.processes)
    c4 = settings.model == "faster_rcnn_c4"
    cfg = config.shipped("mmdet", C4 if c4 else FPN)
    meta = checkpoint.describe(job.weights)
    cfg.model.data_preprocessor.update(config.pixels(meta))
    (_c4 if c4 else _fpn)(cfg.model, job.weights, settings, len(data.classes))
    if job.gpus and plan.per_gpu > HELD:
        _sparing(cfg.model)
    if data.counts.get("train_boxes_without_mask"):
        cfg.model.roi_head.mask_head.type = "PartlyMasked"
    _proposals(cfg.model, settings)
    _data(cfg, settings, data)
    _lengths(cfg, settings, plan)
    if c4:
        cfg.val_evaluator = {"type": "VocScores"}
    else:
        prefix = str(job.work / "results")
        cfg.val_evaluator = {
            "type": "CocoScores",
            "ann_file": data.test["ann_file"],
            "outfile_prefix": prefix,
        }
    return config.complete(cfg, job, plan)


def _c4(model: Any, weights: Path, settings: Detection, classes: int) -> None:
    """Trained SyncBN for frozen BN, stage 4 and one more norm
    on every region; both start from the same file.
    """
    channels, strides = shape(weights)
    inside, pixels = channels[2], strides[2]
    model.data_preprocessor.pad_size_divisor = 2 * pixels
    model.backbone = {"type": "ZooBackbone", "weights": str(weights), "c4": True}
    model.rpn_head.update(in_channels=inside, feat_channels=inside)
    model.rpn_head.anchor_generator.strides = [pixels]
    head = model.roi_head
    head.shared_head = {"type": "LastStage", "weights": str(weights)}
    head.bbox_roi_extractor.update(out_channels=inside, featmap_strides=[pixels])
    head.bbox_roi_extractor.roi_layer.output_size = settings.region
    head.bbox_head.update(in_channels=channels[3], num_classes=classes, roi_feat_size=settings.region // 2)
    # Anchors that cross the border do not train, as in the mmdet 2 runs behind the published numbers.
    model.train_cfg.rpn.allowed_border = 0


def _fpn(model: Any, weights: Path, settings: Detection, classes: int) -> None:
    """Trained SyncBN in backbone, pyramid and both heads; the
    box head has four convolutions and one layer.
    """
    channels, strides = shape(weights)
    pixels, width = list(strides), settings.neck_channels
    model.data_preprocessor.pad_size_divisor = pixels[-1]
    model.backbone = {"type": "ZooBackbone", "weights": str(weights)}
    model.neck.update(in_channels=list(channels), out_channels=width, norm_cfg=SYNC)
    model.rpn_head.update(in_channels=width, feat_channels=width)
    model.rpn_head.anchor_generator.strides = [*pixels, 2 * pixels[-1]]
    head = model.roi_head
    for extractor in (head.bbox_roi_extractor, head.mask_roi_extractor):
        extractor.update(out_channels=width, featmap_strides=pixels)
    head.bbox_head.update(
        type="Shared4Conv1FCBBoxHead",
        in_channels=width,
        conv_out_channels=width,
        fc_out_channels=settings.hidden,
        num_classes=classes,
        norm_cfg=SYNC,
    )
    head.mask_head.update(in_channels=width, conv_out_channels=width, num_classes=classes, norm_cfg=SYNC)


def _sparing(model: Any) -> None:
    model.backbone.recompute = True
    if "shared_head" in model.roi_head:
        model.roi_head.shared_head.recompute = True


def _proposals(model: Any, settings: Detection) -> None:
    for stage, (before, after) in (
        (model.train_cfg.rpn_proposal, settings.proposals_train),
        (model.test_cfg.rpn, settings.proposals_test),
    ):
        stage.update(nms_pre=before, max_per_img=after)
    model.train_cfg.rpn.sampler.num = settings.anchor_samples
    model.train_cfg.rcnn.sampler.num = settings.roi_samples


def _data(cfg: Config, settings: Detection, data: Data) -> None:
    masks = settings.model == "mask_rcnn_fpn"
    load = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "with_bbox": True, "with_mask": masks}]
    scales = [(settings.long_side, side) for side in settings.train_sides]
    train_pipeline = [
        *load,
        {"type": "RandomChoiceResize", "scales": scales, "keep_ratio": True},
        {"type": "RandomFlip", "prob": settings.flip},
        {"type": "PackDetInputs"},
    ]
    # Annotations come after the resize, so that truth stays in the pixels of the file.
    test_pipeline = [
        load[0],
        {"type": "Resize", "scale": (settings.long_side, settings.test_side), "keep_ratio": True},
        {"type": "LoadAnnotations", "with_bbox": True},
        {
            "type": "PackDetInputs",
            "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
        },
    ]
    sets = [{**one, "pipeline": train_pipeline} for one in data.train]
    cfg.train_dataloader.dataset = {"type": "ConcatDataset", "datasets": sets} if len(sets) > 1 else sets[0]
    cfg.val_dataloader.dataset = {**data.test, "pipeline": test_pipeline, "test_mode": True}


def _lengths(cfg: Config, settings: Detection, plan: Schedule) -> None:
    by_epoch = settings.unit == "epochs"
    loop = {"type": "EpochBasedTrainLoop", "max_epochs": plan.length}
    cfg.train_cfg = loop if by_epoch else {"type": "IterBasedTrainLoop", "max_iters": plan.length}
    sampler = "DefaultSampler" if by_epoch else "InfiniteSampler"
    cfg.train_dataloader.sampler = {"type": sampler, "shuffle": True}
    warm, step = cfg.param_scheduler
    warm.end = plan.warmup
    step.update(end=plan.length, by_epoch=by_epoch, milestones=list(plan.drops))
    cfg.log_processor.by_epoch = by_epoch
