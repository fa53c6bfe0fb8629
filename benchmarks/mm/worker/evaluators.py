"""The packages' evaluators replaced where they round or leave out: unrounded, in percent, mAP beside AP50."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS as DETECTION_METRICS
from mmengine.evaluator import BaseMetric
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS as SEGMENTATION_METRICS

from benchmarks.mm.checks import coco_boxes
from benchmarks.mm.worker.detection_ap import Image, coco_scored, coco_scores, voc_classes, voc_scores


@DETECTION_METRICS.register_module()
class VocScores(BaseMetric):  # type: ignore[misc]
    """VOC2007's eleven-point AP at every IoU threshold; mmdet's own rounds it and repeats AP50 as mAP."""

    default_prefix = "box"
    shown = "AP50"  # what `per_class` is, once the test is done
    per_class: Mapping[str, float] = MappingProxyType({})

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        classes = len(self.dataset_meta["classes"])
        for sample in data_samples:
            found, truth, difficult = (
                {name: value.cpu().numpy() for name, value in sample[part].items()}
                for part in ("pred_instances", "gt_instances", "ignored_instances")
            )
            self.results.append(
                [
                    Image(
                        found["bboxes"][found["labels"] == label].astype(np.float64),
                        found["scores"][found["labels"] == label].astype(np.float64),
                        truth["bboxes"][truth["labels"] == label].astype(np.float64),
                        difficult["bboxes"][difficult["labels"] == label].astype(np.float64),
                    )
                    for label in range(classes)
                ]
            )

    def compute_metrics(self, results: list[list[Image]]) -> dict[str, float]:
        images = dict(zip(self.dataset_meta["classes"], zip(*results, strict=True), strict=True))
        self.per_class = voc_classes(images)
        return voc_scores(images)


@DETECTION_METRICS.register_module()
class CocoScores(CocoMetric):  # type: ignore[misc]
    """Box and mask AP by pycocotools from the results that mmdet writes; mmdet's own keeps three decimals.

    Without mask AP where no annotation has a mask.
    """

    default_prefix = "coco"
    shown = "box AP"
    per_class: Mapping[str, float] = MappingProxyType({})

    def __init__(self, ann_file: str, outfile_prefix: str) -> None:
        super().__init__(ann_file, metric=["bbox", "segm"], format_only=True, outfile_prefix=outfile_prefix)
        self.truth = Path(ann_file)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        super().compute_metrics(results)
        content = coco_boxes.read_coco(self.truth)
        found, self.per_class = coco_scored(content, Path(f"{self.outfile_prefix}.bbox.json"), "bbox")
        masks = coco_scores(coco_boxes.mask_truth(content), Path(f"{self.outfile_prefix}.segm.json"), "segm")
        return {
            f"{kind}_{name}": v
            for kind, part in (("box", found), ("mask", masks))
            for name, v in part.items()
        }


@SEGMENTATION_METRICS.register_module()
class MeanIoU(IoUMetric):  # type: ignore[misc]
    """Mean over the classes of intersection over union, both counted in pixels over the whole set.

    Classes that neither truth nor prediction shows are left out. mmseg's own keeps two decimals and adds the
    counts up in single precision.
    """

    shown = "IoU"
    per_class: Mapping[str, float] = MappingProxyType({})

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        shared, union, _, truth = (
            sum(part.double() for part in parts) for parts in zip(*results, strict=True)
        )
        shown = union > 0
        values = (100 * shared / union.clamp(min=1)).tolist()
        names = zip(self.dataset_meta["classes"], values, shown.tolist(), strict=True)
        self.per_class = {name: value for name, value, seen in names if seen}
        accuracy = float(shared.sum() / truth.sum())
        return {"mIoU": 100 * float((shared[shown] / union[shown]).mean()), "aAcc": 100 * accuracy}
