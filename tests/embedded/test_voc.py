"""The VOC years: class files, annotations, masks and boxes say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pretrain.data.embedded import dense
from pretrain.data.embedded.drawing import WORDS
from tests.embedded.reading import lines, objects, tight_box


def voc_splits() -> Iterator[tuple[str, str]]:
    yield from (("VOC2007", name) for name in ("train", "val", "trainval", "test"))
    yield from (("VOC2012", name) for name in ("train", "val", "trainval"))


@pytest.mark.parametrize(("year", "split"), voc_splits())
def test_voc_class_files_say_what_the_annotations_say(root: Path, year: str, split: str) -> None:
    base = root / "VOCdevkit" / year
    ids = lines(base / f"ImageSets/Main/{split}.txt")
    assert ids == sorted(ids)
    things = {i: objects(base / f"Annotations/{i}.xml") for i in ids}
    for word in WORDS:
        expected = []
        for i in ids:
            difficult = [hard for name, hard, _ in things[i] if name == word]
            expected.append(f"{i} {-1 if not difficult else int(not all(difficult)):2d}")
        assert lines(base / f"ImageSets/Main/{word}_{split}.txt") == expected
        assert sum(line.endswith(" 1") for line in expected) >= (8 if split == "trainval" else 1)


def test_voc_years_differ_as_the_real_ones_do(root: Path) -> None:
    main = {year: root / f"VOCdevkit/{year}/ImageSets/Main" for year in ("VOC2007", "VOC2012")}
    assert not (main["VOC2012"] / "test.txt").exists()
    assert all(len(i) == 6 for i in lines(main["VOC2007"] / "test.txt"))
    assert all(len(i) == 11 and i.startswith("2007_") for i in lines(main["VOC2012"] / "val.txt"))
    for folder in main.values():
        train, val, trainval = (lines(folder / f"{name}.txt") for name in ("train", "val", "trainval"))
        assert trainval == sorted(train + val) != train + val
    test = set(lines(main["VOC2007"] / "test.txt"))
    assert not test & set(lines(main["VOC2007"] / "trainval.txt"))


def test_voc_annotations_fit_their_images(root: Path) -> None:
    only_difficult = 0
    for path in (root / "VOCdevkit").glob("*/Annotations/*.xml"):
        tree = ElementTree.parse(path)
        assert tree.findtext("folder") == path.parents[1].name
        with Image.open(path.parents[1] / "JPEGImages" / tree.findtext("filename", "")) as image:
            assert (tree.findtext("size/width"), tree.findtext("size/height")) == tuple(map(str, image.size))
            things = objects(path)
            assert 1 <= len(things) <= 4
            assert not things[0][1], "the first digit is large and in front"
            for _, _, (x0, y0, x1, y1) in things:
                assert 0 <= x0 < x1 <= image.width
                assert 0 <= y0 < y1 <= image.height
        easy = {name for name, difficult, _ in things if not difficult}
        only_difficult += any(name not in easy for name, _, _ in things)
    assert only_difficult > 0, "no class file would hold a 0"


def test_voc_masks_are_palette_images_that_agree_with_the_boxes(root: Path) -> None:
    base = root / "VOCdevkit/VOC2012"
    for split in ("train", "val"):
        shown = set()
        for i in lines(base / f"ImageSets/Segmentation/{split}.txt"):
            assert ElementTree.parse(base / f"Annotations/{i}.xml").findtext("segmented") == "1"
            with Image.open(base / f"SegmentationClass/{i}.png") as image:
                assert image.mode == "P"
                mask = np.asarray(image)
            things = objects(base / f"Annotations/{i}.xml")
            outside = mask.copy()
            for name, _, (x0, y0, x1, y1) in things:
                part = outside[y0:y1, x0:x1]
                part[part == WORDS.index(name) + 1] = 0
            assert set(np.unique(outside)) <= {0, 255}, "a class outside all of its boxes"
            name, _, (x0, y0, x1, y1) = things[0]  # nothing hides it, so its box is tight around its pixels
            alike = [box for other, _, box in things if other == name]
            if len(alike) == 1:
                assert tight_box(mask == WORDS.index(name) + 1) == [x0, y0, x1 - x0, y1 - y0]
            shown |= set(np.unique(mask).tolist())
        assert shown == {*range(11), 255}


def test_voc_void_surrounds_every_digit(root: Path) -> None:
    base = root / "VOCdevkit/VOC2012"
    for path in (base / "SegmentationClass").iterdir():
        with Image.open(path) as image:
            mask = np.asarray(image).astype(int)
        for before, after in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            touching = (before != after) & (before > 0) & (after > 0) & (before < 255) & (after < 255)
            backdrop = (before != after) & ((before == 0) | (after == 0)) & (before < 255) & (after < 255)
            assert not touching.any()
            assert not backdrop.any()


def test_voc_augmented_masks_are_plain_labels_of_other_training_images(root: Path) -> None:
    base = root / "VOCdevkit/VOC2012/"
    aug = set(lines(base / "ImageSets/Segmentation/aug.txt"))
    assert aug | set(lines(base / "ImageSets/Segmentation/train.txt")) == set(
        lines(base / "ImageSets/Main/train.txt")
    )
    assert not aug & set(lines(base / "ImageSets/Segmentation/train.txt"))
    seen = set()
    for i in aug:
        with (
            Image.open(base / f"SegmentationClassAug/{i}.png") as image,
            Image.open(base / f"JPEGImages/{i}.jpg") as rgb,
        ):
            assert image.mode == "L"
            assert image.size == rgb.size
            seen |= set(np.unique(np.asarray(image)).tolist())
    assert seen == set(range(11))


def test_voc_palette_is_the_published_colour_map(root: Path) -> None:
    palette = np.array(dense.palette()).reshape(256, 3).tolist()
    known = {0: [0, 0, 0], 1: [128, 0, 0], 2: [0, 128, 0], 3: [128, 128, 0], 8: [64, 0, 0], 15: [192, 128, 128],
             20: [0, 64, 128], 255: [224, 224, 192]}  # fmt: skip
    assert {number: palette[number] for number in known} == known
    with Image.open(next((root / "VOCdevkit/VOC2012/SegmentationClass").iterdir())) as image:
        assert image.getpalette()[3:6] == [128, 0, 0]  # type: ignore[index]
