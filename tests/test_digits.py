"""The demo data is what it says: real layouts, right counts, tight boxes, the same bytes from the same seed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pretrain.datasets import imagenet, inat18
from pretrain.datasets import places205 as places205_loader
from pretrain.datasets import voc07 as voc07_loader
from pretrain.datasets.digits import DEMO, SMOKE, Size, counts, write
from pretrain.faults import Fault
from pretrain.scenes import coco, dense, drawing, lists
from pretrain.scenes.drawing import WORDS

TINY = replace(
    SMOKE,
    imagenet_train=30, imagenet_val=10,
    inat18_train=40, inat18_val=20,
    places205_train=16, places205_val=8,
    voc2007_train=10, voc2007_val=10, voc2007_test=10,
    voc2012_train=20, voc2012_val=20,
    coco_train=30, coco_val=10,
    cityscapes_train=10, cityscapes_val=10,
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits") / "smoke"
    write(root, SMOKE)
    return root


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TINY, written once; `tiny` is a copy for tests that change it."""
    root = tmp_path_factory.mktemp("digits") / "tiny"
    write(root, TINY)
    return root


@pytest.fixture
def tiny(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "root"))


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def objects(annotation: Path) -> list[tuple[str, bool, tuple[int, int, int, int]]]:
    """(class, difficult, box with half-open pixel coordinates) of each object, in the file's order."""
    found = []
    for node in ElementTree.parse(annotation).iter("object"):
        xmin, ymin, xmax, ymax = (int(node.findtext(f"bndbox/{tag}", "")) for tag in ("xmin", "ymin", "xmax", "ymax"))
        found.append((node.findtext("name", ""), node.findtext("difficult") == "1", (xmin - 1, ymin - 1, xmax, ymax)))
    return found


def tight_box(mask: NDArray[np.generic]) -> list[int]:
    """x, y, width, height, by looking at every pixel."""
    inside = [(x, y) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]]
    xs, ys = [x for x, _ in inside], [y for _, y in inside]
    return [min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1]


# What is on disk


def on_disk(root: Path) -> dict[str, dict[str, int]]:
    """Images that the lists name and that open, counted set by set without any of our code."""

    def listed(set_: str, images: dict[str, str]) -> dict[str, int]:
        return {name: sum(opens(root / set_ / images[name] / line.rpartition(" ")[0])
                          for line in lines(root / set_ / f"meta/{name}.txt")) for name in images}  # fmt: skip

    def ids(year: str, task: str, names: tuple[str, ...]) -> dict[str, int]:
        base = root / "VOCdevkit" / year
        return {name: sum(opens(base / f"JPEGImages/{i}.jpg") for i in lines(base / f"ImageSets/{task}/{name}.txt"))
                for name in names}  # fmt: skip

    coco = {name: json.loads((root / f"coco/annotations/instances_{name}2017.json").read_text())["images"]
            for name in ("train", "val")}  # fmt: skip
    subsets = {"train": "train", "val": "val", "train_1percent": "train", "train_10percent": "train"}
    return {
        "imagenet": listed("imagenet", subsets),
        "inat18": listed("inat18", dict.fromkeys(("train", "val"), "train_val2018")),
        "places205": listed("places205", dict.fromkeys(("train", "val"), "images")),
        "voc2007": ids("VOC2007", "Main", ("train", "val", "trainval", "test")),
        "voc2012": ids("VOC2012", "Main", ("train", "val", "trainval")),
        "voc2012_segmentation": ids("VOC2012", "Segmentation", ("train", "val", "aug")),
        "coco": {name: sum(opens(root / f"coco/{name}2017/{image['file_name']}") for image in images)
                 for name, images in coco.items()},
        "cityscapes": {name: sum(map(opens, (root / f"cityscapes/leftImg8bit/{name}").glob("*/*_leftImg8bit.png")))
                       for name in ("train", "val")},
    }  # fmt: skip


def opens(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
        return image.mode == "RGB"


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
    assert counts(DEMO)["imagenet"] == {"train": 4000, "val": 1000, "train_1percent": 40, "train_10percent": 400}
    assert counts(DEMO)["voc2007"] == {"train": 300, "val": 300, "trainval": 600, "test": 600}
    assert counts(SMOKE)["imagenet"]["train_1percent"] == 10  # a hundredth of 80 images is rounded up to 1 a class
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
    # Weights 1, 2 ** -0.6 = 0.660, 3 ** -0.6 = 0.517 of 2.177 share out 7 of 10 images: 3.2, 2.1, 1.7, plus one each.
    assert lists.long_tail(10, 3) == [5, 3, 2]
    assert lists.per_class(11, 4) == [3, 3, 3, 2]


def test_the_loaders_of_the_real_sets_read_the_demo_data(root: Path) -> None:
    expected = counts(SMOKE)
    for name, amount in expected["imagenet"].items():
        assert len(imagenet.split(root / "imagenet", name)) == amount
    for name in ("train", "val"):
        assert len(inat18.split(root / "inat18", name)) == expected["inat18"][name]
        assert len(places205_loader.split(root / "places205", name)) == expected["places205"][name]
    for name in ("trainval", "test"):
        assert voc07_loader.split(root / "VOCdevkit", name).classes == tuple(sorted(WORDS))


# PASCAL VOC


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
    assert aug | set(lines(base / "ImageSets/Segmentation/train.txt")) == set(lines(base / "ImageSets/Main/train.txt"))
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


# COCO


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
    assert {annotation["category_id"] for annotation in annotations} == set(coco.getCatIds()) == {*range(1, 20, 2)}
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


# Scenes


def test_boxes_are_the_extent_of_what_can_be_seen() -> None:
    rng = np.random.default_rng(0)
    hidden = 0
    for first in range(60):
        scene = drawing.group(rng, "train", first % 10, 96, (96, 84), others=3)
        total = np.sum([thing.mask for thing in scene.things], axis=0)
        assert total.max() == 1, "no pixel shows two digits"
        assert scene.things[0].label == first % 10
        for thing in scene.things:
            x0, y0, x1, y1 = thing.box
            assert tight_box(thing.mask) == [x0, y0, x1 - x0, y1 - y0]
            hidden += thing.difficult
    assert hidden > 0


def test_scans_are_divided_among_the_splits() -> None:
    parts = [{row for rows in drawing.scans(split) for row in rows} for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1797
    assert [len(part) for part in parts] == pytest.approx([1797 * 0.75, 1797 / 8, 1797 / 8], rel=0.05)


def test_every_held_out_image_shows_held_out_scans_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With training scans made full squares and the others small dots, one look tells which an image shows."""
    scans, target = drawing._load()
    train = [row for rows in drawing.scans("train") for row in rows]
    fake = np.zeros_like(scans)
    fake[:, 5:7, 5:7] = 255
    fake[train, 2:10, 2:10] = 255
    monkeypatch.setattr(drawing, "_load", lambda: (fake, target))
    write(tmp_path / "root", TINY)
    data = tmp_path / "root"

    def light(paths: list[Path]) -> float:
        """Share of pixels in an ink's range, mean over images."""
        return float(
            np.mean([(np.asarray(Image.open(path).convert("RGB")).min(axis=2) > 125).mean() for path in paths])
        )

    def listed(folder: Path, names: Path) -> list[Path]:
        return [folder / line.rpartition(" ")[0] for line in lines(names)]

    def voc(year: str, name: str) -> list[Path]:
        base = data / "VOCdevkit" / year
        return [base / f"JPEGImages/{i}.jpg" for i in lines(base / f"ImageSets/Main/{name}.txt")]

    pairs = [
        tuple(listed(data / f"imagenet/{name}", data / f"imagenet/meta/{name}.txt") for name in ("train", "val")),
        *(tuple(listed(data / folder, data / set_ / f"meta/{name}.txt") for name in ("train", "val"))
          for set_, folder in (("inat18", "inat18/train_val2018"), ("places205", "places205/images"))),
        (voc("VOC2007", "train"), voc("VOC2007", "val") + voc("VOC2007", "test")),
        (voc("VOC2012", "train"), voc("VOC2012", "val")),
        tuple(sorted((data / f"coco/{name}2017").iterdir()) for name in ("train", "val")),
        tuple(sorted((data / f"cityscapes/leftImg8bit/{name}").rglob("*.png")) for name in ("train", "val")),
    ]  # fmt: skip
    for shown_in_training, held_out in pairs:
        assert light(shown_in_training) > 3 * light(held_out), held_out[0]


def test_textures_cannot_be_told_by_colour_but_differ() -> None:
    rng = np.random.default_rng(0)
    for kind in drawing.TEXTURES:
        image = drawing.texture(rng, kind, 48, 32)
        assert image.size == (48, 32)
        assert np.asarray(image).std() > 5


# Writing


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_same_seed_same_bytes_other_seed_other_bytes(drawn: Path, tmp_path: Path) -> None:
    write(tmp_path / "again", TINY)
    write(tmp_path / "other", replace(TINY, seed=1))
    one, other = contents(drawn), contents(tmp_path / "other")
    assert one == contents(tmp_path / "again")
    same = [
        name for name in one if name.endswith((".jpg", ".JPEG", "leftImg8bit.png")) and one[name] == other.get(name)
    ]
    assert same == []


def test_one_set_does_not_depend_on_the_size_of_another(drawn: Path, tmp_path: Path) -> None:
    write(tmp_path / "more", replace(TINY, imagenet_train=40, coco_train=12))
    one, more = contents(drawn), contents(tmp_path / "more")
    for name in one:
        if name.startswith(("inat18", "places205", "VOCdevkit", "cityscapes", "imagenet/val", "coco/val2017")):
            assert one[name] == more[name]


def stamps(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in root.rglob("*")}


def test_a_complete_root_is_left_alone(tiny: Path) -> None:
    (tiny / ".DS_Store").touch()
    before = stamps(tiny)
    write(tiny, TINY)
    assert stamps(tiny) == before


@pytest.mark.parametrize("size", [replace(TINY, version=99), replace(TINY, coco_train=40)])
def test_a_root_of_another_size_is_rewritten(tiny: Path, size: Size) -> None:
    before = stamps(tiny)
    write(tiny, size)
    assert on_disk(tiny) == counts(size)
    assert stamps(tiny)[tiny / "imagenet"] != before[tiny / "imagenet"]
    assert [path.name for path in tiny.parent.iterdir()] == ["root"]


def test_a_root_with_a_file_missing_is_rewritten(drawn: Path, tiny: Path) -> None:
    (tiny / "coco/train2017/000000000001.jpg").unlink()
    write(tiny, TINY)
    assert contents(tiny) == contents(drawn)


def test_a_killed_write_leaves_no_root_and_the_next_one_starts_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(coco, "write_coco", die)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "root", TINY)
    assert not (tmp_path / "root").exists()
    (tmp_path / "root.partial/imagenet/left over").touch()
    write(tmp_path / "root", TINY)
    assert on_disk(tmp_path / "root") == counts(TINY)
    assert not (tmp_path / "root/imagenet/left over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.parametrize("manifest", [None, "{}", "not json"])
def test_a_folder_of_somebody_else_is_not_touched(tmp_path: Path, manifest: str | None) -> None:
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet/precious.JPEG").touch()
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(Fault, match="new or empty folder") as caught:
        write(tmp_path, TINY)
    assert caught.value.reason == "bad-config"
    assert (tmp_path / "imagenet/precious.JPEG").exists()


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    write(tmp_path / "root", TINY)
    assert (tmp_path / "root/manifest.json").exists()


@pytest.mark.parametrize(("field", "least"), [("imagenet_val", 10), ("inat18_val", 20), ("voc2012_train", 20)])
def test_a_split_too_small_for_its_classes_is_refused(field: str, least: int) -> None:
    replace(SMOKE, **{field: least})
    with pytest.raises(Fault, match=f"{field} must be at least {least}"):
        replace(SMOKE, **{field: least - 1})


def test_reading_the_sizes_loads_neither_torch_nor_sklearn_and_drawing_loads_no_torch() -> None:
    code = (
        "import sys, numpy as np; from pretrain.datasets import digits; from pretrain.scenes import drawing;"
        "print({'torch', 'sklearn', 'scipy'} & set(sys.modules));"
        "drawing.group(np.random.default_rng(0), 'train', 3, 96, (96, 96), 2); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["set()", "False"]
