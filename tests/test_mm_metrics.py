"""Average precision equals the published reference numbers, mmdet's own rule and cases worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.mm.checks.coco_boxes import mask_truth
from benchmarks.mm.worker.detection_ap import Image, coco_scores, eleven_point_ap, voc_scores

NONE = np.zeros((0, 4))


def image(
    truths: list[list[float]],
    found: list[list[float]],
    scores: list[float],
    difficult: list[list[float]] | None = None,
) -> Image:
    as_boxes = [np.array(boxes, dtype=float).reshape(-1, 4) for boxes in (found, truths, difficult or [])]
    return Image(as_boxes[0], np.array(scores, dtype=float), as_boxes[1], as_boxes[2])


def reference_text(path: Path, columns: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    rows = [line.split()[1:] for line in path.read_text().splitlines()]
    return np.array(rows, dtype=float).reshape(-1, columns)


def test_voc_ap_of_the_reference_detections(sample: Callable[[str], Path]) -> None:
    case = sample("golden-ap") / "test_case_1"
    images = []
    for path in sorted((case / "gts").iterdir()):
        truth, found = reference_text(path, 4), reference_text(case / "dets" / path.name, 5)
        corners = [np.hstack([box[:, :2], box[:, :2] + box[:, 2:]]) for box in (found[:, 1:], truth)]
        images.append(Image(corners[0], found[:, 0], corners[1], NONE))
    got = [eleven_point_ap(images, iou) for iou in (0.1, 0.3, 0.5, 0.75)]
    assert got == pytest.approx([0.333333, 0.268398, 0.030303, 0.0], abs=1e-6)


def test_coco_ap_of_the_reference_detections(sample: Callable[[str], Path]) -> None:
    case = sample("golden-ap") / "test_coco_eval"
    truth = case / "gts" / "sampled_gts_bbox_area.json"
    got = coco_scores(truth, case / "cocoapi_results.json", "bbox")
    assert list(got.values()) == pytest.approx([50.3647, 69.6973, 57.1667], abs=1e-4)


def test_voc_ap_by_hand() -> None:
    # Four truths. By score: right, wrong (second on a found truth), right; one truth is never found.
    # Precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3: best is 1 up to 0.3 (4 steps), 2/3 up to 0.6 (3), 0
    # beyond (4).
    first = image([[0, 0, 9, 9], [20, 20, 29, 29]], [[0, 0, 9, 9], [0, 0, 9, 8]], [0.9, 0.8])
    second = image([[0, 0, 9, 9]], [[0, 0, 9, 9]], [0.7])
    assert eleven_point_ap([first, second], 0.5) == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)


def test_both_corner_pixels_belong_to_a_box() -> None:
    # 0..9 and 0..4 are 10 and 5 pixels wide: an IoU of 1/2, and 4/9 if the width were x2 - x1.
    one = image([[0, 0, 9, 9]], [[0, 0, 4, 9]], [0.5])
    assert eleven_point_ap([one], 0.5) == pytest.approx(1.0)
    assert eleven_point_ap([one], 0.51) == 0.0


def test_difficult_boxes_neither_count_nor_hurt() -> None:
    easy, hard = [0.0, 0, 9, 9], [20.0, 20, 29, 29]
    one = image([easy], [easy, hard, hard], [0.5, 0.9, 0.8], difficult=[hard])
    assert eleven_point_ap([one], 0.5) == pytest.approx(1.0)
    assert eleven_point_ap([image([], [hard], [0.9], difficult=[hard])], 0.5) is None


def test_map_is_not_a_copy_of_ap50() -> None:
    # IoU 0.8: found at seven of the ten thresholds (0.50 to 0.80). A class that nothing shows is left out.
    one = image([[0, 0, 9, 9]], [[0, 0, 9, 7]], [0.5])
    got = voc_scores({"shown": [one], "absent": [image([], [[0, 0, 5, 5]], [0.9])]})
    assert got == pytest.approx({"mAP": 70.0, "AP50": 100.0, "AP75": 100.0})


@pytest.mark.filterwarnings("ignore")  # the packages warn when they are imported
@pytest.mark.case(43)
def test_voc_ap_equals_mmdets() -> None:
    pytest.importorskip("mmengine", reason="mmdet and mmsegmentation are not installed")
    from benchmarks.mm.worker import ops

    ops.install()
    from mmdet.evaluation.functional import eval_map

    rng = np.random.default_rng(0)
    images, found, truth = [], [], []
    for _ in range(12):
        corners = rng.integers(0, 30, (9, 2)).astype(float)
        boxes = np.hstack([corners, corners + rng.integers(3, 20, (9, 2))])
        moved = boxes + rng.integers(-2, 3, boxes.shape)
        scores = rng.random(9)
        images.append(Image(moved, scores, boxes[:5], boxes[5:7]))
        found.append([np.hstack([moved, scores[:, None]])])
        ignored = {"bboxes_ignore": boxes[5:7], "labels_ignore": np.zeros(2, int)}
        truth.append({"bboxes": boxes[:5], "labels": np.zeros(5, int), **ignored})
    for iou in (0.3, 0.5, 0.7):
        theirs, _ = eval_map(
            found,
            truth,
            iou_thr=iou,
            logger="silent",
            nproc=1,
            eval_mode="11points",
            use_legacy_coordinate=True,
        )
        assert eleven_point_ap(images, iou) == pytest.approx(theirs, abs=1e-6)


def coco(annotations: list[dict[str, Any]]) -> dict[str, Any]:
    numbered = [
        {"id": i, "category_id": 1, "image_id": 1, "iscrowd": 0, **a} for i, a in enumerate(annotations, 1)
    ]
    for ann in numbered:
        ann.setdefault("area", ann["bbox"][2] * ann["bbox"][3])
    images = [{"id": 1, "file_name": "1.jpg", "width": 100, "height": 100}]
    return {"info": {}, "images": images, "annotations": numbered, "categories": [{"id": 1, "name": "thing"}]}


@pytest.mark.case(43)
def test_coco_ap_by_hand(tmp_path: Path) -> None:
    # The first box is found exactly, the second with IoU 0.62 (three of ten thresholds), the third detection
    # is wrong. With one of two found at full precision AP is 51/101: recalls 0, 0.01, ..., 0.50.
    truth = coco([{"bbox": [0, 0, 10, 10]}, {"bbox": [50, 50, 10, 10]}])
    found = [
        {"image_id": 1, "category_id": 1, "bbox": box, "score": score}
        for box, score in (([0, 0, 10, 10], 0.9), ([50, 50, 10, 6.2], 0.8), ([20, 80, 10, 10], 0.1))
    ]
    path = tmp_path / "found.json"
    path.write_text(json.dumps(found))
    half = 100 * 51 / 101
    got = coco_scores(truth, path, "bbox")
    assert got == pytest.approx({"AP": (3 * 100 + 7 * half) / 10, "AP50": 100.0, "AP75": half})
    assert coco_scores(truth, [], "bbox") == {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}


@pytest.mark.parametrize("ids", [(0, 1), (1, 0), ("a", "b")])
def test_an_annotation_is_found_whatever_its_id(ids: tuple[int | str, ...]) -> None:
    truth = coco([{"bbox": [0, 0, 10, 10]}, {"bbox": [50, 50, 10, 10]}])
    for ann, number in zip(truth["annotations"], ids, strict=True):
        ann["id"] = number
    found = [
        {"image_id": 1, "category_id": 1, "bbox": ann["bbox"], "score": 0.9} for ann in truth["annotations"]
    ]
    assert coco_scores(truth, found, "bbox") == pytest.approx({"AP": 100.0, "AP50": 100.0, "AP75": 100.0})
    assert [ann["id"] for ann in truth["annotations"]] == list(ids)


def test_a_box_without_a_mask_counts_for_boxes_and_is_crowd_for_masks() -> None:
    square = [[0, 0, 10, 0, 10, 10, 0, 10]]
    truth = coco(
        [{"bbox": [0, 0, 10, 10], "segmentation": square}, {"bbox": [50, 50, 10, 10], "segmentation": []}]
    )
    one = {"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": square}
    other = {**one, "score": 0.95, "segmentation": [[50, 50, 60, 50, 60, 60, 50, 60]]}
    from pycocotools import mask

    found = [{**d, "segmentation": mask.frPyObjects(d["segmentation"], 100, 100)[0]} for d in (one, other)]
    assert coco_scores(mask_truth(truth), found, "segm")["AP50"] == pytest.approx(100.0)
    assert coco_scores(mask_truth(truth), found[:1], "segm")["AP50"] == pytest.approx(100.0)
    boxes = [{"image_id": 1, "category_id": 1, "score": 0.9, "bbox": [0, 0, 10, 10]}]
    assert coco_scores(truth, boxes, "bbox")["AP50"] == pytest.approx(100 * 51 / 101)


@pytest.mark.parametrize(
    "found", [[], [{"image_id": 1, "category_id": 1, "score": 0.9, "bbox": [0, 0, 9, 9]}]]
)
def test_nothing_to_measure_is_no_score(found: list[dict[str, Any]]) -> None:
    unmasked = coco([{"bbox": [0, 0, 10, 10], "segmentation": []}])
    assert coco_scores(unmasked, found, "bbox")
    assert coco_scores(mask_truth(unmasked), found, "bbox") == {}
    assert coco_scores(coco([]), found, "bbox") == {}
    detections = [one["bbox"] for one in found]
    assert voc_scores({"absent": [image([], detections, [0.9] * len(found))]}) == {}
