"""Text files that list images: other encodings and impossible labels are named with file and line."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from PIL import Image

from pretrain.base.faults import Fault
from pretrain.data.lists import LARGEST_LABEL, SPARSE
from pretrain.data.sets import imagenet, voc07
from pretrain.data.split import Split, from_list


def written(root: Path, content: bytes) -> Split:
    (root / "train.txt").write_bytes(content)
    return from_list("x", root, root / "train.txt")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a/1.png 0\n\na/\xe4.png 0\n", 3),
        ("a/1.png 0\na/2.png 1\n".encode("utf-16"), 1),
        ("a/1.png 0\n".encode("utf-16-le"), 1),
    ],
)
def test_another_encoding_is_named_with_its_line(tmp_path: Path, content: bytes, line: int) -> None:
    with pytest.raises(
        Fault, match=rf"train.txt:{line}: expected UTF-8, .* save the file as UTF-8"
    ) as raised:
        written(tmp_path, content)
    assert raised.value.reason == "data-corrupt"


def test_a_mark_of_the_byte_order_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert written(tmp_path, codecs.BOM_UTF8 + b"a/1.png 0\r\nb/2.png 1\r\n").files == ("a/1.png", "b/2.png")


@pytest.mark.parametrize("label", ["10000000", "4000000000", "9" * 30, "9" * 5000, f"000{LARGEST_LABEL}"])
def test_a_label_beyond_all_lines_makes_no_class_of_every_number_below_it(tmp_path: Path, label: str) -> None:
    with pytest.raises(Fault, match=rf"train.txt:2: expected a label below {SPARSE:,}, for 3 lines, got "):
        written(tmp_path, f"a/1.png 0\nb/2.png {label}\nc/3.png 1\n".encode())


def test_a_short_list_may_number_many_classes_and_a_label_may_begin_with_noughts(tmp_path: Path) -> None:
    split = written(tmp_path, f"a/1.png {SPARSE - 1}\nb/2.png {'0' * 50}7\nc/3.png 00\n".encode())
    assert split.labels is not None
    assert (split.labels.tolist(), len(split.classes)) == ([SPARSE - 1, 7, 0], SPARSE)


def test_a_wrong_label_of_a_list_beside_is_named_there(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("v/1.png 123456789\n")
    (tmp_path / "train.txt").write_text("a/1.png 0\n")
    with pytest.raises(Fault, match=r"val.txt:1: expected a label below .* got 123,456,789"):
        from_list("x", tmp_path, tmp_path / "train.txt", beside=(tmp_path / "val.txt",))


def test_a_list_that_is_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "train.txt").mkdir()
    with pytest.raises(Fault, match=r"train.txt cannot be read \(Is a directory\)"):
        from_list("x", tmp_path, tmp_path / "train.txt")


@pytest.mark.parametrize("name", ["train", "train_1percent"])
def test_lists_of_imagenet_are_read_alike(tmp_path: Path, name: str) -> None:
    (tmp_path / "train" / "n01").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "train" / "n01" / "n01_1.png")
    path = tmp_path / "meta" / f"{name}.txt"
    path.parent.mkdir()
    text = "n01/n01_1.png 0\n" if name == "train" else "n01_1.png\n"
    path.write_bytes(codecs.BOM_UTF8 + text.encode())
    assert imagenet.read(tmp_path, name).files == ("n01/n01_1.png",)
    path.write_bytes(text.encode() + b"n01_\xe4.png 0\n")
    with pytest.raises(Fault, match=rf"{name}.txt:2: expected UTF-8"):
        imagenet.read(tmp_path, name)


def test_annotations_of_tiny_imagenet_are_read_alike(tmp_path: Path) -> None:
    (tmp_path / "val" / "images").mkdir(parents=True)
    notes = tmp_path / "val" / "val_annotations.txt"
    notes.write_bytes(codecs.BOM_UTF8 + b"1.JPEG\tn01\t0\n\n")
    assert imagenet.read(tmp_path, "val").files == ("images/1.JPEG",)
    notes.write_bytes(b"1.JPEG\tn01\t0\n\xe4.JPEG\tn01\t0\n")
    with pytest.raises(Fault, match=r"val_annotations.txt:2: expected UTF-8"):
        imagenet.read(tmp_path, "val")


@pytest.mark.parametrize("name", ["test.txt", "cat_test.txt", "cat_left_test.txt"])
def test_lists_of_voc_are_read_alike(tmp_path: Path, name: str) -> None:
    lists = tmp_path / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for file, text in (
        ("test.txt", "01\n02\n"),
        ("cat_test.txt", "01 1\n02 -1\n"),
        ("cat_left_test.txt", "01 1\n"),
    ):
        (lists / file).write_bytes(codecs.BOM_UTF8 + text.encode())
    assert voc07.read(tmp_path, "test").files == ("01.jpg", "02.jpg")
    (lists / name).write_bytes(b"01 1\n\xe4 1\n")
    with pytest.raises(Fault, match=rf"{name}:2: expected UTF-8"):
        voc07.read(tmp_path, "test")
