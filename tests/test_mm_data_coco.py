"""Odd COCO instances end in a counted rule or in an error that names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mm.checks import boxes, coco_boxes
from benchmarks.mm.worker.detection_ap import coco_scores
from pretrain.base.faults import Fault
from tests.annotated import instances, picture


@pytest.mark.parametrize(
    ("change", "smallest"), [({}, 31), ({"iscrowd": 1}, 0), ({"area": 0}, 0), ({"image_id": 9}, 0), (None, 0)]
)
def test_instances_without_a_usable_box_are_named(
    tmp_path: Path, change: dict[str, Any] | None, smallest: int
) -> None:
    path, content = instances(tmp_path, [] if change is None else [change])
    report = coco_boxes.check_coco(path, content, tmp_path / "train2017", smallest)
    assert boxes.together(report, report)["train_classes_absent"] == 1
    with pytest.raises(Fault, match="none of its 1 images has a box to test on"):
        boxes.expect_boxes(report, path, "test on")


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({}, {}),
        ({"bbox": [35, 25, 10, 10]}, {"boxes_clipped": 1}),
        ({"bbox": [50, 1, 5, 5]}, {"boxes_dropped": 1}),
        ({"bbox": [5, 5, 0.5, 9]}, {"boxes_dropped": 1}),
        ({"area": 0}, {"boxes_dropped": 1}),
        ({"iscrowd": 1}, {"boxes_crowd": 1}),
        ({"segmentation": []}, {"boxes_without_mask": 1}),
        ({"segmentation": None}, {"boxes_without_mask": 1}),
        ({"segmentation": [[1, 1, 5, 5]]}, {"boxes_without_mask": 1}),
        ({"image_id": 9}, {"boxes_without_image": 1, "images_without_boxes": 1}),
    ],
)
def test_odd_coco_boxes_are_counted(tmp_path: Path, change: dict[str, Any], count: dict[str, int]) -> None:
    path, content = instances(tmp_path, [change])
    report = coco_boxes.check_coco(path, content, tmp_path / "train2017")
    assert {name: n for name, n in report.odd.items() if n} == count
    assert (report.images, report.classes) == (1, ("cat",))


def test_images_that_the_json_does_not_name_are_counted(tmp_path: Path) -> None:
    path, content = instances(tmp_path, [{}])
    picture(tmp_path / "train2017" / "2.jpg")
    assert coco_boxes.check_coco(path, content, tmp_path / "train2017").odd["images_not_listed"] == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"images": [{"id": 1, "file_name": "2.jpg", "width": 40, "height": 30}]}, "2.jpg"),
        ({"images": [{"id": 1, "file_name": "1.jpg", "width": 30, "height": 40}]}, "1.jpg is 30 x 40, it is"),
        ({"categories": [{"id": 1, "name": "cat"}]}, "category 7, not declared"),
        ({"images": [{"id": 1, "file_name": "1.jpg"}]}, "image 1 has no height, width"),
        ({"annotations": [{"id": 4, "image_id": 1, "category_id": 7}]}, "annotation 4 has no bbox"),
        ({"annotations": [{"id": 4, "image_id": 1, "category_id": 7, "bbox": []}]}, "a bbox of 0 numbers"),
        (
            {"annotations": [{"id": 4, "image_id": 1, "category_id": 7, "bbox": [1, 1, 5, 5]}] * 2},
            "1 annotation ids",
        ),
    ],
)
def test_unusable_instances_are_named(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    path, content = instances(tmp_path, [{}], **more)
    with pytest.raises(Fault, match=said):
        coco_boxes.check_coco(path, content, tmp_path / "train2017")


@pytest.mark.parametrize(
    ("text", "said"), [("", "is not json"), ("[]", "has no annotations"), ("{}", "COCO instances")]
)
def test_other_json_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(Fault, match=said):
        coco_boxes.read_coco(tmp_path / "a.json")


def test_what_mmdet_takes_for_granted_is_filled_in(tmp_path: Path) -> None:
    changes = [{"area": None, "iscrowd": None, "segmentation": None}, {"image_id": 9}]
    _, content = instances(tmp_path, changes)
    (fixed,) = coco_boxes.completed(content)["annotations"]
    assert (fixed["area"], fixed["iscrowd"]) == (81, 0)
    (masked,) = coco_boxes.with_empty_masks(coco_boxes.completed(content))["annotations"]
    assert masked["segmentation"] == {"size": [30, 40], "counts": [1200]}


@pytest.mark.parametrize("scrap", [[], [1, 1, 9, 9], [1, 1, 9, 1, 9]])
def test_polygons_of_less_than_three_points_are_no_part_of_a_mask(tmp_path: Path, scrap: list[float]) -> None:
    """pycocotools takes a first polygon of four numbers for a box, and fails on an empty one."""
    square = [1, 1, 10, 1, 10, 10, 1, 10]
    _, content = instances(tmp_path, [{"segmentation": [scrap, square]}, {"segmentation": [scrap]}])
    truth = coco_boxes.completed(content)
    assert [ann["segmentation"] for ann in truth["annotations"]] == [[square], []]
    assert [coco_boxes.has_mask(ann) for ann in content["annotations"]] == [True, False]
    mask = pytest.importorskip("pycocotools.mask")
    found = {
        "image_id": 1,
        "category_id": 7,
        "score": 0.9,
        "segmentation": mask.frPyObjects([square], 30, 40)[0],
    }
    assert coco_scores(coco_boxes.mask_truth(truth), [found], "segm")["AP"] == pytest.approx(100.0)


def test_differing_categories_are_refused() -> None:
    one, other = boxes.Report(1, ("cat", "dog")), boxes.Report(1, ("dog", "cat"))
    with pytest.raises(Fault, match="different categories: their order"):
        coco_boxes.same_classes(one, other, (Path("a"), Path("b")))
    with pytest.raises(Fault, match="different categories: bird"):
        coco_boxes.same_classes(one, boxes.Report(1, ("cat", "dog", "bird")), (Path("a"), Path("b")))


def test_the_sample_instances_pass(sample: Callable[[str], Path]) -> None:
    root = sample("coco-cc")
    path = root / "annotations" / "instances_val2017.json"
    found = coco_boxes.check_coco(path, coco_boxes.read_coco(path), root / "val2017")
    assert found.images == 52
    assert found.odd["boxes_without_mask"] == 173
    assert found.odd["boxes_crowd"] == 2
