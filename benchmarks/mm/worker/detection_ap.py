"""Average precision of detections: VOC2007's eleven-point rule and COCO's, both unrounded and in percent.

No mm package is imported here; the evaluators hand plain arrays and files over.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

VOC_IOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
# As every released Python evaluator has them: 3 * 0.1 is a bit above 0.3, so a recall of exactly 3/10 misses
# its step (and 6/10, 7/10 theirs). Published numbers contain this; it is worth at most 3/11 of a class with
# few boxes.
RECALLS = np.arange(0.0, 1.1, 0.1)


@dataclass(frozen=True)
class Image:
    """One image's boxes of one class, (n, 4) as x1, y1, x2, y2 in pixels, both corners inside the box.

    scores: (d,) of the detections; difficult: boxes that neither count as missed nor make a detection wrong.
    """

    detections: Floats
    scores: Floats
    truths: Floats
    difficult: Floats


def eleven_point_ap(images: Sequence[Image], iou: float) -> float | None:
    """The VOC2007 average precision of one class, in [0, 1], or None when no image shows the class.

    Detections are taken best first over all images, and each is judged by the one truth that it overlaps
    most: a second one on the same truth is wrong, one on a difficult truth does not count. The value is the
    mean over the recalls 0, 0.1, ..., 1 of the best precision at that recall or above (Everingham et al.
    2010, eq. 1-2).
    """
    positives = sum(len(image.truths) for image in images)
    if positives == 0:
        return None
    verdicts = [_judge(image, iou) for image in images]
    order = np.argsort(-np.concatenate([image.scores for image in images]), kind="stable")
    verdict = np.concatenate(verdicts)[order]
    hits = np.cumsum(verdict == 1)[verdict != 0]
    misses = np.cumsum(verdict == -1)[verdict != 0]
    precision = hits / np.maximum(hits + misses, 1)
    recall = hits / positives
    return float(np.mean([precision[recall >= step].max(initial=0.0) for step in RECALLS]))


def _judge(image: Image, iou: float) -> npt.NDArray[np.int64]:
    """Per detection 1 (right), -1 (wrong) or 0 (does not count), (d,)."""
    verdict = np.full(len(image.scores), -1, dtype=np.int64)
    truths = np.concatenate([image.truths, image.difficult]).reshape(-1, 4)
    if len(truths) == 0:
        return verdict
    overlap = _inclusive_iou(image.detections.reshape(-1, 4), truths)
    found = np.zeros(len(truths), dtype=bool)
    for i in np.argsort(-image.scores, kind="stable"):
        best = int(overlap[i].argmax())
        if overlap[i, best] < iou:
            continue
        if best >= len(image.truths):
            verdict[i] = 0
        elif not found[best]:
            found[best] = True
            verdict[i] = 1
    return verdict


def _inclusive_iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes whose corner pixels
    belong to them: a box is x2 - x1 + 1 wide. (n, m).
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.maximum(high - low + 1, 0).prod(axis=2)
    area_a, area_b = ((x[:, 2:] - x[:, :2] + 1).prod(axis=1) for x in (a, b))
    overlap: Floats = shared / (area_a[:, None] + area_b[None, :] - shared)
    return overlap


def voc_scores(per_class: Mapping[str, Sequence[Image]]) -> dict[str, float]:
    """VOC detection scores in percent: AP50, AP75 and mAP, the mean over IoU 0.50, 0.55, ..., 0.95.

    Classes that no image shows are left out of the means. Eleven points at every threshold, as detectron2
    reports for VOC2007. Empty when no class is shown: there is nothing to measure.
    """
    by_iou = {iou: [eleven_point_ap(images, iou) for images in per_class.values()] for iou in VOC_IOUS}
    shown = {iou: [ap for ap in aps if ap is not None] for iou, aps in by_iou.items()}
    if not shown[0.5]:
        return {}
    mean = {iou: 100.0 * float(np.mean(aps)) for iou, aps in shown.items()}
    return {"mAP": float(np.mean(list(mean.values()))), "AP50": mean[0.5], "AP75": mean[0.75]}


def voc_classes(per_class: Mapping[str, Sequence[Image]]) -> dict[str, float]:
    """AP50 in percent of every class that an image shows."""
    found = {name: eleven_point_ap(images, 0.5) for name, images in per_class.items()}
    return {name: 100.0 * ap for name, ap in found.items() if ap is not None}


def coco_scores(
    truth: Path | Mapping[str, Any], detections: Path | Sequence[Any], kind: str
) -> dict[str, float]:
    """COCO scores in percent, AP (IoU 0.50 to 0.95), AP50 and AP75, by pycocotools.

    truth: an instances file or its content; detections: a results file or its content; kind: "bbox" or
    "segm". Empty when every annotation is a crowd: there is nothing to measure.
    """
    return coco_scored(truth, detections, kind)[0]


def coco_scored(
    truth: Path | Mapping[str, Any], detections: Path | Sequence[Any], kind: str
) -> tuple[dict[str, float], dict[str, float]]:
    """What `coco_scores` gives, and AP (IoU 0.50 to 0.95, percent) of every class that there was to find."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    content = json.loads(truth.read_text()) if isinstance(truth, Path) else dict(truth)
    if all(ann.get("iscrowd") for ann in content["annotations"]):
        return {}, {}
    found = (
        json.loads(detections.read_text())
        if isinstance(detections, Path)
        else [dict(one) for one in detections]
    )
    if not found:  # pycocotools fails on an empty list
        return {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}, {}
    # pycocotools notes the id of the truth that a detection found, as a number, and takes 0 for none.
    numbered = [{**ann, "id": number} for number, ann in enumerate(content["annotations"], start=1)]
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {**content, "annotations": numbered}
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = dict(zip(("AP", "AP50", "AP75"), map(float, evaluation.stats), strict=False))
    # pycocotools answers -1 where there was nothing to find.
    return {name: 100.0 * value for name, value in stats.items() if value >= 0}, _coco_classes(evaluation)


def _coco_classes(evaluation: Any) -> dict[str, float]:
    """AP by class of an accumulated evaluation: mean precision over IoUs and recalls, things of any size."""
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, class); -1: nothing to find
    names = [one["name"] for one in evaluation.cocoGt.loadCats(evaluation.params.catIds)]
    pairs = ((name, precision[:, :, i]) for i, name in enumerate(names))
    return {name: 100.0 * float(one[one > -1].mean()) for name, one in pairs if (one > -1).any()}
