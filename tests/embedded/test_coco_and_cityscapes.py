"""COCO boxes, areas and outlines are those of the masks; Cityscapes has a label map for each image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pretrain.data.embedded import coco
from tests.embedded.reading import tight_box


@pytest.mark.parametrize("split", ["train", "val"])
def test_coco_boxes_and_areas_are_those_of_the_masks(root: Path, split: str) -> None:
    pycocotools = pytest.importorskip("pycocotools.coco")
    coco = pycocotools.COCO(str(root / f"coco/annotations/instances_{split}2017.json"))
    annotations = coco.dataset["annotations"]
    for annotation in annotations:
        mask = coco.annToMask(annotation)
        assert annotation["bbox"] == tight_box(mask)
        assert annotation["area"] == mask.sum()
        assert isinstance(annotation["segmentation"], dict if annotation["iscrowd"] else list)
    assert len({annotation["id"] for annotation in annotations}) == len(annotations)
    assert (
        {annotation["category_id"] for annotation in annotations}
        == set(coco.getCatIds())
        == {*range(1, 20, 2)}
    )
    assert any(annotation["iscrowd"] for annotation in annotations)
    assert any(not coco.getAnnIds(image) for image in coco.getImgIds()), "no image is without annotations"
    for image in coco.dataset["images"]:
        with Image.open(root / f"coco/{split}2017" / image["file_name"]) as opened:
            assert opened.size == (image["width"], image["height"])


def test_outlines_by_hand() -> None:
    one = np.array([[0, 0, 0], [0, 1, 1]], bool)
    assert coco.outlines(one) == [[1, 1, 3, 1, 3, 2, 1, 2]]
    diagonal = np.eye(2, dtype=bool)  # touching at a corner only: two pieces
    assert sorted(coco.outlines(diagonal)) == [[0, 0, 1, 0, 1, 1, 0, 1], [1, 1, 2, 1, 2, 2, 1, 2]]
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    assert coco.filled(ring).all()
    assert coco.run_lengths(one) == [3, 1, 1, 1]
    assert coco.run_lengths(one[1:, 1:]) == [0, 2]
    assert coco.run_lengths(np.zeros((2, 2), bool)) == [4]


def test_outlines_hold_exactly_the_filled_mask() -> None:
    coder = pytest.importorskip("pycocotools.mask")
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width = rng.integers(1, 14, 2).tolist()
        mask = rng.random((height, width)) < rng.uniform(0.1, 0.9)
        mask[0, 0] = True
        filled = coco.filled(mask)
        # Background reaches round corners, so that it leaks out where mask pixels touch at a corner only.
        np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(mask, np.ones((3, 3))))
        pieces = coder.frPyObjects(coco.outlines(filled), height, width)
        np.testing.assert_array_equal(coder.decode(coder.merge(pieces)), filled)
        runs = {"counts": coco.run_lengths(mask), "size": [height, width]}
        np.testing.assert_array_equal(coder.decode(coder.frPyObjects(runs, height, width)), mask)


# Cityscapes


def test_cityscapes_has_a_label_map_for_each_image(root: Path) -> None:
    for split in ("train", "val"):
        images = sorted((root / f"cityscapes/leftImg8bit/{split}").glob("*/*.png"))
        shown = set()
        for path in images:
            city = path.parent.name
            assert path.name.startswith(f"{city}_")
            stem = path.name.removesuffix("_leftImg8bit.png")
            labels = root / f"cityscapes/gtFine/{split}/{city}/{stem}_gtFine_labelTrainIds.png"
            with Image.open(labels) as image, Image.open(path) as rgb:
                assert image.mode == "L"
                assert image.size == rgb.size == (192, 96)
                shown |= set(np.unique(np.asarray(image)).tolist())
        assert shown == {*range(11), 255}
        assert len(list((root / f"cityscapes/gtFine/{split}").rglob("*.png"))) == len(images)
