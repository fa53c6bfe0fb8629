"""Labels of two splits mean the same: classes by name from folders and shards, by number from lists."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pretrain.base.faults import Fault
from pretrain.data.classes import require_same_classes
from pretrain.data.fingerprint import of_split
from pretrain.data.sets import imagenet
from pretrain.data.split import Split


def named(name: str, *classes: str) -> Split:
    return Split(name, Path(name), (), np.zeros(0, dtype=np.int64), classes)


def listed(name: str, classes: int) -> Split:
    numbers = tuple(map(str, range(classes)))
    return Split(name, Path(name), (), np.zeros(0, dtype=np.int64), numbers, (Path("x.txt"),), numbered=True)


def folders(root: Path, part: str, *names: str) -> None:
    """Class folders of a part with an image each."""
    for name in names:
        (root / part / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(root / part / name / "1.png")


def compare(root: Path) -> None:
    require_same_classes({part: imagenet.read(root, part) for part in ("train", "val")})


@pytest.mark.parametrize(
    ("train", "val", "said"),
    [
        (
            named("train", "ant", "bee", "cat"),
            named("val", "ant", "cat", "dog"),
            "in train: bee; only in val: dog",
        ),
        (named("train", "0", "1", "2"), named("val", "1", "2"), "only in train: 0; only in val: none"),
        (listed("train", 2), listed("val", 3), "val has labels up to 2, train only up to 1"),
        (listed("train", 2), named("val", "ant", "bee", "cat"), "val has labels up to 2, train only up to 1"),
        (listed("train", 3), named("val", "bee", "cat"), "has 2 class folders.* expected the 3 of x.txt"),
    ],
)
def test_labels_of_two_splits_must_mean_the_same(train: Split, val: Split, said: str) -> None:
    with pytest.raises(Fault, match=said) as raised:
        require_same_classes({"train": train, "val": val})
    assert raised.value.reason == "data-corrupt"


def test_a_list_need_not_show_every_class() -> None:
    require_same_classes({"train": listed("train", 3), "val": listed("val", 2)})
    require_same_classes({"train": named("train", "ant", "bee"), "val": listed("val", 1)})
    require_same_classes({"train": named("train", "ant", "bee"), "val": named("val", "ant", "bee")})
    require_same_classes({"val": named("val", "ant")})


def test_folders_called_by_numbers_are_compared_by_name(tmp_path: Path) -> None:
    folders(tmp_path, "train", "0", "1", "2")
    folders(tmp_path, "val", "1", "2")
    with pytest.raises(Fault, match=r"only in .*train: 0; only in .*val: none"):
        compare(tmp_path)
    folders(tmp_path, "val", "0")
    compare(tmp_path)


def test_numbers_of_more_digits_are_not_called_other_classes() -> None:
    train, val = named("train", *(f"{i:02d}" for i in range(12))), named("val", *map(str, range(10)))
    with pytest.raises(Fault, match=r"only in train: 10, 11; only in val: none; complete or remove"):
        require_same_classes({"train": train, "val": val})
    with pytest.raises(Fault, match=r"only in train: 0; only in val: 00; complete or remove"):
        require_same_classes({"train": named("train", "0"), "val": named("val", "00")})


@pytest.mark.parametrize(("labels", "same"), [((1, 2), False), ((0, 1, 2), True)])
def test_shards_of_numbers_are_compared_by_name(tmp_path: Path, labels: tuple[int, ...], same: bool) -> None:
    for part, numbers in (("train", (0, 1, 2)), ("val", labels)):
        with tarfile.open(tmp_path / f"{part}-0000.tar", "w") as tar:
            for number in numbers:
                image, label = tmp_path / f"{number}.png", tmp_path / f"{number}.cls"
                Image.new("RGB", (4, 4)).save(image)
                label.write_text(str(number))
                tar.add(image, image.name)
                tar.add(label, label.name)
    if same:
        compare(tmp_path)
    else:
        with pytest.raises(Fault, match=r"only in .*train: 0; only in .*val: none"):
            compare(tmp_path)


def write(root: Path, part: str, *lines: str) -> None:
    (root / "meta").mkdir(exist_ok=True)
    (root / "meta" / f"{part}.txt").write_text("\n".join(lines))


def test_a_list_that_numbers_class_folders_in_its_own_order_needs_a_list_beside_it(tmp_path: Path) -> None:
    folders(tmp_path, "train", "a", "b", "c")
    folders(tmp_path, "val", "a", "b", "c")
    write(tmp_path, "train", "a/1.png 2", "b/1.png 0", "c/1.png 1")
    with pytest.raises(Fault, match=r"train.txt gives a/1.png the label 2, but 'a' is class 0 of .*/val "):
        compare(tmp_path)
    write(tmp_path, "val", "a/1.png 2", "c/1.png 1")
    compare(tmp_path)


def test_two_lists_that_number_class_folders_otherwise_are_refused(tmp_path: Path) -> None:
    folders(tmp_path, "train", "a", "b", "c")
    folders(tmp_path, "val", "a", "b", "c")
    write(tmp_path, "train", "a/1.png 2", "b/1.png 0", "c/1.png 1")
    write(tmp_path, "val", "./a/1.png 2", "b/1.png 1")
    with pytest.raises(Fault, match=r"val.txt gives images in 'b' the label 1, .*train.txt gives 0; number"):
        compare(tmp_path)
    write(tmp_path, "val", "a/1.png 0", "a/1.png 1", "b/1.png 2")  # its folders are no classes
    compare(tmp_path)


def test_a_list_that_numbers_class_folders_in_their_order_goes_with_them(tmp_path: Path) -> None:
    folders(tmp_path, "train", "a", "b", "c")
    folders(tmp_path, "val", "a", "b")
    write(tmp_path, "train", "a/1.png 0", "b/1.png 1", "./c/1.png 2")
    compare(tmp_path)
    write(tmp_path, "train", "a/1.png 1", "b/1.png 0", "c/1.png 2")
    with pytest.raises(Fault, match=r"gives a/1\.png the label 1"):
        compare(tmp_path)


def test_a_list_of_few_labels_may_lack_the_last_class_of_the_folders(tmp_path: Path) -> None:
    folders(tmp_path, "train", "a", "b", "c")
    folders(tmp_path, "val", "a", "b", "c")
    write(tmp_path, "train_1percent", "a/1.png 0", "b/1.png 1")
    few, val = (imagenet.read(tmp_path, part) for part in ("train_1percent", "val"))
    require_same_classes({"train": few, "val": val})
    assert few.classes == ("0", "1", "2")
    write(tmp_path, "val", "a/1.png 0", "b/1.png 1")  # where both are lists, they say how many there are
    assert imagenet.read(tmp_path, "train_1percent").classes == ("0", "1")


def test_names_that_are_numbers_are_remembered_as_other_classes_than_those_of_a_list() -> None:
    one, other = of_split(named("train", "0", "1")), of_split(listed("train", 2))
    assert one.names != other.names
    assert one.more == other.more, "what a key rests on is the same"
