"""Odd VOC boxes, damaged images and blank lists end in a counted rule or in an error that names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.mm.checks import boxes, image_files, voc_boxes
from pretrain.base.faults import Fault
from tests.annotated import SIZE, picture


def xml(
    path: Path, objects: list[tuple[str, tuple[float, ...], int]], size: tuple[int, int] | None = SIZE
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    nodes = "".join(
        f"<object><name>{name}</name><difficult>{hard}</difficult><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin>"
        f"<xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
        for name, b, hard in objects
    )
    path.write_text(f"<annotation>{stated}{nodes}</annotation>")
    return path


def devkit(
    root: Path, objects: list[list[tuple[str, tuple[float, ...], int]]], split: str = "trainval"
) -> Path:
    year = root / "VOC2007"
    for i, found in enumerate(objects):
        picture(year / "JPEGImages" / f"{i}.jpg")
        xml(year / "Annotations" / f"{i}.xml", found)
    lists = year / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / f"{split}.txt").write_text("".join(f"{i}\n" for i in range(len(objects))))
    return root


def test_voc_boxes_start_at_zero_and_are_cut_to_the_image(tmp_path: Path) -> None:
    path = xml(tmp_path / "a.xml", [("cat", (1, 1, 10.7, 10), 0), ("cat", (-3, 5, 41, 30), 1)])
    found, odd = voc_boxes.things(path, SIZE)
    assert found == [
        voc_boxes.Thing("cat", (0, 0, 9, 9), False),
        voc_boxes.Thing("cat", (0, 4, 39, 29), True),
    ]
    assert odd == {"boxes_clipped": 1, "boxes_difficult": 1, "images_without_boxes": 0}


@pytest.mark.parametrize("box", [(50, 5, 60, 10), (5, 5, 5, 20), (9, 9, 2, 12), (5, -9, 10, 0)])
def test_voc_boxes_without_an_area_are_dropped_and_counted(tmp_path: Path, box: tuple[float, ...]) -> None:
    found, odd = voc_boxes.things(xml(tmp_path / "a.xml", [("cat", box, 0)]), SIZE)
    assert found == []
    assert odd["boxes_dropped"] == 1
    assert odd["images_without_boxes"] == 1


@pytest.mark.parametrize("stated", [None, (0, 0), (30, 40)])
def test_the_images_own_size_counts(tmp_path: Path, stated: tuple[int, int] | None) -> None:
    found, odd = voc_boxes.things(xml(tmp_path / "a.xml", [("cat", (1, 1, 40, 30), 0)], stated), SIZE)
    assert found[0].box == (0, 0, 39, 29)
    assert odd["sizes_corrected"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not an annotation"),
        ("<annotation><object>", "not an annotation"),
        ("<annotation><object><name>cat</name></object></annotation>", "no number"),
        (
            "<annotation><object><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
            "</annotation>",
            "no name",
        ),
    ],
)
def test_unusable_annotations_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(Fault, match=rf"a\.xml.*{said}") as error:
        voc_boxes.things(tmp_path / "a.xml", SIZE)
    assert error.value.reason == "data-corrupt"


def test_a_devkit_is_counted(tmp_path: Path) -> None:
    root = devkit(tmp_path, [[("dog", (1, 1, 9, 9), 0), ("cat", (1, 1, 99, 9), 0)], []])
    train = voc_boxes.check_voc(root, "VOC2007/trainval")
    assert (train.images, train.classes) == (2, ("cat", "dog"))
    test = boxes.Report(1, ("cat", "bird"), usable=Counter(cat=1))
    assert boxes.together(train, test) == {
        "train_boxes_clipped": 1,
        "train_images_without_boxes": 1,
        "test_classes_absent": 1,
        "classes_only_in_train": 1,
        "classes_only_in_test": 1,
    }


@pytest.mark.parametrize(
    ("objects", "smallest"),
    [
        ([], 0),
        ([("cat", (1, 1, 9, 9), 1)], 0),
        ([("cat", (50, 1, 60, 9), 0)], 0),
        ([("cat", (1, 1, 9, 9), 0)], 31),
    ],
)
def test_a_list_without_a_usable_box_is_named(
    tmp_path: Path, objects: list[tuple[str, tuple[float, ...], int]], smallest: int
) -> None:
    report = voc_boxes.check_voc(devkit(tmp_path, [objects]), "VOC2007/trainval", smallest)
    assert not report.usable
    with pytest.raises(Fault, match=r"trainval\.txt: none of its 1 images has a box to train on") as error:
        boxes.expect_boxes(report, voc_boxes.voc_list(tmp_path, "VOC2007/trainval"), "train on", smallest)
    assert error.value.reason == "data-corrupt"


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    root = devkit(tmp_path, [[("dog", (1, 1, 9, 9), 0)]] * 3)
    cut = root / "VOC2007" / "JPEGImages" / "1.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    with pytest.raises(Fault, match=r"1 of 3 images are cut short or not images: .*1\.jpg") as error:
        voc_boxes.check_voc(root, "VOC2007/trainval")
    assert error.value.reason == "data-corrupt"
    cut.unlink()
    with pytest.raises(Fault, match=r"1 of 3 image files are not there: .*1\.jpg"):
        voc_boxes.check_voc(root, "VOC2007/trainval")
    picture(cut)
    (root / "VOC2007" / "Annotations" / "2.xml").unlink()
    with pytest.raises(Fault, match=r"2\.xml is not there"):
        voc_boxes.check_voc(root, "VOC2007/trainval")
    with pytest.raises(Fault, match=r"test\.txt is not there"):
        voc_boxes.check_voc(root, "VOC2007/test")


def test_whole_images_of_any_ending_pass(tmp_path: Path) -> None:
    paths = [picture(tmp_path / name) for name in ("a.jpg", "b.png")]
    with paths[0].open("ab") as file:
        file.write(b"\0" * 9)  # padding
    odd = picture(tmp_path / "c.jpg")
    odd.write_bytes(odd.read_bytes() + b"comment behind the end")
    assert image_files.sizes([*paths, odd]) == [SIZE] * 3
    paths[1].write_bytes(b"")
    with pytest.raises(Fault, match=r"1 of 3 images are cut short or not images: .*b\.png"):
        image_files.sizes([*paths, odd])


@pytest.mark.parametrize(("text", "said"), [("", "is empty"), ("a\n\nb\n", "txt:2 is blank")])
def test_lists_without_names_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(Fault, match=said):
        image_files.listed(tmp_path / "train.txt")


def test_published_counts_are_expected() -> None:
    image_files.expect(5, 0, "the training part")
    with pytest.raises(Fault, match="the training part lists 5 images, expected 16551"):
        image_files.expect(5, 16551, "the training part")


def test_the_blood_cells_pass(sample: Callable[[str], Path]) -> None:
    root = sample("bccd") / "VOCdevkit"
    report = boxes.merged([voc_boxes.check_voc(root, f"VOC2007/{part}") for part in ("trainval", "test")])
    assert report.images == 364
    assert report.classes == ("Platelets", "RBC", "WBC")


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (30, 20)), (3, (30, 20)), (6, (20, 30)), (8, (20, 30))]
)
def test_an_image_that_lies_on_its_side_has_the_size_that_mm_reads(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    cv2 = pytest.importorskip("cv2")
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    assert image_files.sizes([path]) == [size]
    height, width = cv2.imread(str(path)).shape[:2]
    assert (width, height) == size
