"""Data sets as people have them: nested folders, val/ under other names, what systems leave, `_` in names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pretrain.base.faults import Fault
from pretrain.data.fingerprint import Fingerprints, of_split
from pretrain.data.sets import imagenet, inat18, places205, voc07
from pretrain.data.split import Split, from_class_folders, from_folder, require_published


def put(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, format="PNG")


def tiny(root: Path) -> Path:
    """The layout of tiny-imagenet-200.zip, with two classes of two images."""
    for wnid in ("n02", "n01"):
        put(*(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG" for i in range(2)))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t4\t4\n")
    put(*(root / "val" / "images" / f"val_{i}.JPEG" for i in range(3)))
    lines = [f"val_{i}.JPEG\t{wnid}\t0\t32\t44\t62\n" for i, wnid in enumerate(("n02", "n01", "n02"))]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    put(root / "test" / "images" / "test_0.JPEG")
    return root


def labels(split: Split) -> list[int]:
    assert split.labels is not None
    assert all(split.path(i).is_file() for i in range(len(split)))
    return [int(label) for label in split.labels]


def test_tiny_imagenet_is_read_as_it_is_unpacked(tmp_path: Path) -> None:
    train, val = (imagenet.read(tiny(tmp_path / "tiny"), part) for part in ("train", "val"))
    assert train.files[0] == "n01/images/n01_0.JPEG"
    assert train.classes == val.classes == ("n01", "n02")
    assert labels(train) == [0, 0, 1, 1]
    assert val.files == ("images/val_0.JPEG", "images/val_1.JPEG", "images/val_2.JPEG")
    assert labels(val) == [1, 0, 1]


def test_tiny_imagenet_sorted_into_class_folders_is_read_by_them(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    put(root / "val" / "n01" / "images" / "val_1.JPEG", root / "val" / "n02" / "val_0.JPEG")
    for path in (root / "val" / "images").iterdir():
        path.unlink()
    (root / "val" / "images").rmdir()
    val = imagenet.read(root, "val")
    assert val.files == ("n01/images/val_1.JPEG", "n02/val_0.JPEG")
    assert labels(val) == [0, 1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("val_9.JPEG n01", r"val_annotations.txt:4: expected 'file<tab>class<tab>box', got 'val_9.JPEG n01'"),
        ("val_9.JPEG\tn77\t0", r"no class folder in .*train for 'n77' of images/val_9.JPEG"),
    ],
)
def test_a_line_of_the_annotations_that_says_no_class_is_named(tmp_path: Path, line: str, said: str) -> None:
    notes = tiny(tmp_path) / "val" / "val_annotations.txt"
    notes.write_text(notes.read_text() + line + "\n")
    with pytest.raises(Fault, match=said):
        imagenet.read(tmp_path, "val")


def test_an_image_at_any_depth_belongs_to_its_class(tmp_path: Path) -> None:
    put(tmp_path / "ant" / "2019" / "may" / "1.png", tmp_path / "ant" / "2.png", tmp_path / "bee" / "3.png")
    split = from_class_folders("own", tmp_path)
    assert split.files == ("ant/2.png", "ant/2019/may/1.png", "bee/3.png")
    assert labels(split) == [0, 0, 1]


def test_an_image_added_deep_below_a_class_is_noticed(tmp_path: Path) -> None:
    put(tmp_path / "own" / "train" / "ant" / "2019" / "1.png")

    def images() -> int:
        seen = Fingerprints(tmp_path / "memory")
        return seen.of("own", lambda: of_split(imagenet.read(tmp_path / "own", "train"))).images

    assert images() == 1
    put(tmp_path / "own" / "train" / "ant" / "2019" / "2.png")
    assert images() == 2


def test_what_systems_leave_is_no_image_and_no_class(tmp_path: Path) -> None:
    put(tmp_path / "ant" / "1.png", tmp_path / "ant" / "._1.png", tmp_path / "ant" / "__MACOSX" / "1.png")
    put(tmp_path / "__MACOSX" / "x.png", tmp_path / ".thumbnails" / "y.png", tmp_path / ".z.png")
    (tmp_path / "ant" / "Thumbs.db").touch()
    (tmp_path / "Thumbs.db").touch()
    split = from_class_folders("own", tmp_path)
    assert (split.classes, split.files) == (("ant",), ("ant/1.png",))
    assert from_folder("own", tmp_path).files == ("ant/1.png",)


def test_a_link_to_a_folder_around_a_class_brings_no_other_class_into_it(tmp_path: Path) -> None:
    put(tmp_path / "ant" / "1.png", tmp_path / "bee" / "2.png", tmp_path / "more" / "3.png")
    (tmp_path / "bee" / "up").symlink_to(tmp_path)
    (tmp_path / "bee" / "aside").symlink_to(tmp_path / "more")
    split = from_class_folders("own", tmp_path)
    assert split.files == ("ant/1.png", "bee/2.png", "bee/aside/3.png", "more/3.png")
    assert from_folder("own", tmp_path / "bee").files == ("2.png", "aside/3.png")


@pytest.mark.parametrize("stand_in", ["valid", "validation", "test"])
def test_another_folder_serves_where_there_is_no_val(tmp_path: Path, stand_in: str) -> None:
    put(tmp_path / stand_in / "ant" / "1.png")
    split = imagenet.read(tmp_path, "val")
    assert split.path(0) == tmp_path / stand_in / "ant" / "1.png"
    assert split.name == f"{tmp_path.name}/val"
    put(tmp_path / "val" / "ant" / "2.png")
    assert imagenet.read(tmp_path, "val").path(0) == tmp_path / "val" / "ant" / "2.png"
    assert tmp_path / "val" in split.sources, "a val/ that appears must be noticed"


def test_a_folder_without_classes_does_not_serve_as_val(tmp_path: Path) -> None:
    put(tmp_path / "test" / "images" / "1.png", tmp_path / "valid" / "2.png")
    with pytest.raises(Fault, match=r"val is not there: .*none of val/, valid/, validation/, test/") as error:
        imagenet.read(tmp_path, "val")
    assert error.value.reason == "data-missing"


def test_a_folder_of_images_without_classes_is_said(tmp_path: Path) -> None:
    put(tmp_path / "train" / "1.png")
    with pytest.raises(Fault, match="train holds no class folder; expected one sub-folder per class"):
        imagenet.read(tmp_path, "train")


def percent(root: Path, *names: str) -> Split:
    (root / "meta").mkdir(exist_ok=True)
    (root / "meta" / "train_1percent.txt").write_text("\n".join(names))
    return imagenet.read(root, "train_1percent")


def test_a_bare_name_belongs_to_the_longest_class_that_fits(tmp_path: Path) -> None:
    put(tmp_path / "train" / "cat" / "cat_1.png", tmp_path / "train" / "cat_wild" / "cat_wild_1_a.png")
    put(tmp_path / "train" / "catfish" / "deep" / "catfish_1.png", tmp_path / "train" / ".kept" / "x.png")
    split = percent(tmp_path, "cat_1.png", "cat_wild_1_a.png", "catfish_1.png")
    assert split.classes == ("cat", "cat_wild", "catfish")
    assert split.files == ("cat/cat_1.png", "cat_wild/cat_wild_1_a.png", "catfish/deep/catfish_1.png")
    assert labels(split) == [0, 1, 2]


@pytest.mark.parametrize("name", ["dog_1.png", "cats_1.png", "cat.png", "cat-1_2.png"])
def test_a_bare_name_of_no_class_is_named(tmp_path: Path, name: str) -> None:
    put(tmp_path / "train" / "cat" / "cat_1.png")
    with pytest.raises(Fault, match=rf"train_1percent.txt: no class folder in .* for '{name}'") as error:
        percent(tmp_path, "cat_1.png", name)
    assert error.value.reason == "data-corrupt"


def voc(root: Path, part: str = "test", **files: str) -> Split:
    lists = root / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    for name, text in {"": "1\n2\n", **files}.items():
        (lists / f"{name}_{part}.txt".removeprefix("_")).write_text(text)
    return voc07.read(root, part)


def test_voc_classes_may_hold_an_underscore(tmp_path: Path) -> None:
    split = voc(tmp_path, red_cell="1 1\n2 -1\n", red_cell_ripe="1 -1\n2 1\n", red_cell_left="2 1\n")
    assert set(split.classes) == {"red_cell", "red_cell_ripe"}
    assert split.labels is not None
    by_class = dict(zip(split.classes, split.labels.T.tolist(), strict=True))
    assert by_class == {"red_cell": [1, 0], "red_cell_ripe": [0, 1]}


def test_voc_classes_have_one_order_in_both_splits(tmp_path: Path) -> None:
    """Their files have not: car_test.txt stands before car_tire_test.txt, car_trainval.txt does not."""
    for part in ("trainval", "test"):
        split = voc(tmp_path, part, car="1 1\n2 -1\n", car_tire="1 -1\n2 1\n")
        assert split.classes == ("car", "car_tire")
        assert split.labels is not None
        assert split.labels.tolist() == [[1, 0], [0, 1]]


def test_a_voc_class_that_is_on_some_images_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"red_cell_test.txt: its 1 ids differ from the 2"):
        voc(tmp_path, red_cell="1 1\n")


def listed(root: Path, folder: str, train: str, val: str) -> Path:
    (root / folder).mkdir(parents=True)
    (root / "meta").mkdir()
    (root / "meta" / "train.txt").write_text(train)
    if val:
        (root / "meta" / "val.txt").write_text(val)
    return root


LISTED = [(inat18, "train_val2018"), (places205, "images"), (imagenet, "train")]


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize(("module", "folder"), LISTED)
def test_lists_have_as_many_classes_as_train_and_val_show(
    tmp_path: Path, module: object, folder: str, part: str
) -> None:
    root = listed(tmp_path, folder, "a/1.jpg 0\na/2.jpg 2\n", "b/1.jpg 4\n")
    (root / "val").mkdir(exist_ok=True)
    split = module.read(root, part)  # type: ignore[attr-defined]
    assert split.classes == ("0", "1", "2", "3", "4")
    assert {root / "meta" / "train.txt", root / "meta" / "val.txt"} <= set(split.sources)


@pytest.mark.parametrize(("module", "folder"), LISTED)
def test_a_list_alone_has_as_many_classes_as_it_shows(tmp_path: Path, module: object, folder: str) -> None:
    root = listed(tmp_path, folder, "a/1.jpg 0\na/2.jpg 2\n", "")
    assert module.read(root, "train").classes == ("0", "1", "2")  # type: ignore[attr-defined]


def test_published_classes_are_demanded_of_the_published_images_alone(tmp_path: Path) -> None:
    lines = [f"{i}.jpg {i % 204}\n" for i in range(places205.COUNTS["val"])]
    root = listed(tmp_path, "images", "a.jpg 0\n", "".join(lines))
    with pytest.raises(Fault, match="20,500 images as published, but 204 classes, expected 205") as error:
        places205.read(root, "val")
    assert error.value.reason == "data-corrupt"
    (root / "meta" / "val.txt").write_text("".join(lines[1:]))
    assert len(places205.read(root, "val").classes) == 204
    split = Split("x", tmp_path, ("a",), np.zeros(1, dtype=np.int64), ("0",))
    require_published(split, 1, 1)


def test_photographs_are_read_with_their_test_folder_as_val(samples: Path, tmp_path: Path) -> None:
    if not (samples / "clothing-224").is_dir():
        pytest.skip("no clothing-224 in the samples")
    for part in ("train", "test"):
        (tmp_path / part).symlink_to(samples / "clothing-224" / part)
    train, val = (imagenet.read(tmp_path, part) for part in ("train", "val"))
    assert train.classes == val.classes
    assert len(val) == len(from_folder("x", samples / "clothing-224" / "test"))
