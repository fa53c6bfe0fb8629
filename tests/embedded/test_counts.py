"""The lists name what is on disk, every class is in every list, and the real loaders read them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pretrain.data import dataset
from pretrain.data.embedded import lists
from pretrain.data.embedded.digits import DEMO, SMOKE, counts
from pretrain.data.embedded.drawing import WORDS
from tests.embedded.reading import lines, on_disk


def test_counts_are_what_is_on_disk(root: Path) -> None:
    assert on_disk(root) == counts(SMOKE)
    assert json.loads((root / "manifest.json").read_text())["counts"] == counts(SMOKE)


def test_no_image_is_left_unlisted(root: Path) -> None:
    expected = counts(SMOKE)
    for name in ("imagenet", "inat18", "places205"):
        images = sum(len(list((root / name).rglob(ending))) for ending in ("*.jpg", "*.JPEG"))
        assert images == expected[name]["train"] + expected[name]["val"]
    assert len(list((root / "VOCdevkit/VOC2007/JPEGImages").iterdir())) == SMOKE.voc2007_test + 120
    assert len(list((root / "VOCdevkit/VOC2012/JPEGImages").iterdir())) == 80


def test_demo_counts_by_hand() -> None:
    assert counts(DEMO)["imagenet"] == {
        "train": 4000,
        "val": 1000,
        "train_1percent": 40,
        "train_10percent": 400,
    }
    assert counts(DEMO)["voc2007"] == {"train": 300, "val": 300, "trainval": 600, "test": 600}
    assert (
        counts(SMOKE)["imagenet"]["train_1percent"] == 10
    )  # a hundredth of 80 images is rounded up to 1 a class
    assert counts(SMOKE)["voc2012_segmentation"] == {"train": 20, "val": 20, "aug": 20}


@pytest.mark.parametrize(("set_", "classes"), [("imagenet", 10), ("inat18", 20), ("places205", 8)])
def test_every_class_is_in_every_list(root: Path, set_: str, classes: int) -> None:
    for path in sorted((root / set_ / "meta").iterdir()):
        labels = [int(line.rpartition(" ")[2]) for line in lines(path)]
        assert set(labels) == set(range(classes)), path


def test_imagenet_subsets_are_part_of_train_and_alike_in_all_classes(root: Path) -> None:
    train, *subsets = (
        lines(root / f"imagenet/meta/{name}.txt") for name in ("train", "train_1percent", "train_10percent")
    )
    for subset, per_class in zip(subsets, (1, 8), strict=True):
        assert set(subset) < set(train)
        assert np.bincount([int(line.split()[1]) for line in subset]).tolist() == [per_class] * 10
    assert all(int(line[1:9]) == int(line.split()[1]) for line in train)


def test_inat18_has_a_long_tail_in_training_only(root: Path) -> None:
    train, val = (
        np.bincount([int(line.split()[1]) for line in lines(root / f"inat18/meta/{name}.txt")])
        for name in ("train", "val")
    )
    assert train.max() > 4 * train.min()
    assert val.tolist() == [8] * 20


def test_long_tail_by_hand() -> None:
    # Weights 1, 2 ** -0.6 = 0.660, 3 ** -0.6 = 0.517 of 2.177 share out 7 of 10 images: 3.2, 2.1, 1.7, plus
    # one each.
    assert lists.long_tail(10, 3) == [5, 3, 2]
    assert lists.per_class(11, 4) == [3, 3, 3, 2]


def test_the_loaders_of_the_real_sets_read_the_demo_data(root: Path) -> None:
    expected = counts(SMOKE)
    for name, amount in expected["imagenet"].items():
        assert len(dataset.find("imagenet").split(root / "imagenet", name)) == amount
    for name in ("train", "val"):
        assert len(dataset.find("inat18").split(root / "inat18", name)) == expected["inat18"][name]
        assert len(dataset.find("places205").split(root / "places205", name)) == expected["places205"][name]
    for name in ("trainval", "test"):
        assert dataset.find("voc07").split(root / "VOCdevkit", name).classes == tuple(sorted(WORDS))
