"""Annotations, lists and images that are broken or made to harm end in one sentence with file and place."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.mm.checks import coco_boxes, image_files, inventory, voc_boxes
from benchmarks.protocols.detection import protocol as detection
from pretrain.base.faults import Fault
from tests.annotated import instances, picture
from tests.faults.hostile import DEEP, EVIL, LONG, refused

COCO_TEXTS = {
    "nan": '{"images": [], "annotations": [{"bbox": [NaN, 0, 1, 1]}], "categories": []}',
    "infinity": '{"images": [], "annotations": [{"bbox": [-Infinity, 0, 1, 1]}], "categories": []}',
    "deep": DEEP,
    "deep-objects": '{"a":' * 200_000,
    "thousands-of-digits": f'{{"images": [{LONG}]}}',
    "latin-1": b'{"images": "\xe9"}',
    "utf-16": '{"images": []}'.encode("utf-16"),
    "nul": "\0" * 99,
    "number": "5",
}


@pytest.mark.parametrize("name", COCO_TEXTS)
def test_instances_that_are_no_json_are_one_sentence(tmp_path: Path, name: str) -> None:
    text, path = COCO_TEXTS[name], tmp_path / "instances.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Fault) as raised:
        coco_boxes.read_coco(path)
    refused(raised, "data-corrupt", path)


IMAGE = {"id": 1, "file_name": "1.jpg", "width": 40, "height": 30}
CAT = {"id": 7, "name": "cat"}
COCO_PARTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "inf-box": ({"bbox": [float("inf"), 0, 1, 1]}, {}, "has bbox"),
    "huge-box": ({"bbox": [0, 0, 1e308, 1]}, {}, "has bbox"),
    "digits-box": ({"bbox": [10**400, 0, 1, 1]}, {}, "has bbox"),
    "text-box": ({"bbox": ["1", 0, 1, 1]}, {}, "has bbox"),
    "number-for-box": ({"bbox": 5}, {}, "a bbox of type int"),
    "nan-area": ({"area": float("nan")}, {}, "has area nan"),
    "text-area": ({"area": "9"}, {}, "has area"),
    "crowd": ({"iscrowd": "yes"}, {}, "has iscrowd"),
    "nan-polygon": ({"segmentation": [[1, 1, float("nan"), 1, 5, 5]]}, {}, "not finite"),
    "huge-polygon": ({"segmentation": [[1, 1, 1e300, 1, 5, 5]]}, {}, "not finite"),
    "text-polygon": ({"segmentation": [["1", 1, 2, 1, 5, 5]]}, {}, "not finite"),
    "text-segmentation": ({"segmentation": "x"}, {}, "of type str"),
    "runs-beyond-image": (
        {"segmentation": {"size": [30, 40], "counts": [10**9]}},
        {},
        "runs cover 1000000000",
    ),
    "runs-of-other-size": ({"segmentation": {"size": [10**6, 10**6], "counts": [10**12]}}, {}, "of size"),
    "negative-runs": ({"segmentation": {"size": [30, 40], "counts": [-1, 1201]}}, {}, "no run lengths"),
    "packed-runs": ({"segmentation": {"size": [30, 40], "counts": "oooo" * 9}}, {}, "no run lengths"),
    "id": ({"id": [1]}, {}, "expected a number"),
    "huge-id": ({"id": 10**400}, {}, "10^15"),
    "list-for-category": ({"category_id": [7]}, {}, "expected a number"),
    "entry": ({}, {"annotations": [5]}, "annotation entry 0 is a int"),
    "annotations": ({}, {"annotations": {"a": 1}}, "annotations is a dict"),
    "same-image-twice": ({}, {"images": [IMAGE, IMAGE]}, "image ids occur more than once, first 1"),
    "same-category-twice": ({}, {"categories": [CAT, {"id": 7, "name": "dog"}]}, "category ids occur more"),
    "same-name-twice": ({}, {"categories": [CAT, {"id": 8, "name": "cat"}]}, "category names occur more"),
    "name-with-escapes": ({}, {"categories": [{"id": 7, "name": EVIL}]}, "has a name that is no printable"),
    "long-name": ({}, {"categories": [{"id": 7, "name": "x" * 10**6}]}, "has a name that is no printable"),
    "number-for-name": ({}, {"categories": [{"id": 7, "name": 5}]}, "has a name that is no printable"),
    "steps-up": ({}, {"images": [{**IMAGE, "file_name": "../1.jpg"}]}, "has file_name ../1.jpg"),
    "absolute": ({}, {"images": [{**IMAGE, "file_name": "/etc/passwd"}]}, "has file_name /etc/passwd"),
    "nul-name": ({}, {"images": [{**IMAGE, "file_name": "a\0b"}]}, "has file_name a\\x00b"),
    "none-for-name": ({}, {"images": [{**IMAGE, "file_name": None}]}, "has file_name None"),
    "width": ({}, {"images": [{**IMAGE, "width": float("inf")}]}, "has width inf"),
}


@pytest.mark.parametrize("name", COCO_PARTS)
def test_an_entry_of_instances_that_cannot_be_used_is_named(tmp_path: Path, name: str) -> None:
    change, more, said = COCO_PARTS[name]
    picture(tmp_path / "train2017" / "1.jpg")
    plain = {"id": 4, "image_id": 1, "category_id": 7, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
    content = {"images": [IMAGE], "annotations": [{**plain, **change}], "categories": [CAT], **more}
    path = tmp_path / "instances.json"
    with pytest.raises(Fault) as raised:
        coco_boxes.check_coco(path, content, tmp_path / "train2017")
    assert said in refused(raised, "data-corrupt", path)


def test_compressed_runs_that_fill_their_image_pass(tmp_path: Path) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    packed = mask.frPyObjects({"size": [30, 40], "counts": [200, 500, 100, 300, 100]}, 30, 40)
    shape = {"size": [30, 40], "counts": packed["counts"].decode()}
    path, content = instances(tmp_path, [{"segmentation": shape}, {"segmentation": shape, "image_id": 9}])
    assert coco_boxes.check_coco(path, content, tmp_path / "train2017").odd["boxes_crowd"] == 0


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", 5, None, "a\0b"])
def test_a_plan_looks_at_no_file_outside_of_the_images(tmp_path: Path, name: Any) -> None:
    settings = detection.PAPER[1].settings
    path = tmp_path / "annotations" / f"instances_{settings.train_lists[0]}.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"images": [{"file_name": name}], "annotations": [], "categories": []}))
    with pytest.raises(Fault, match="image entry 0 has no file_name below") as raised:
        inventory.of(tmp_path, settings)
    refused(raised, "data-corrupt", path)


BOX = "<bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "ha"}">' for i in range(12))
VOC_TEXTS = {
    "billion-laughs": f"<!DOCTYPE a [{LAUGHS}]><annotation>&l11;</annotation>",
    "file-entity": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>',
    "utf-16-entity": '<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>'.encode("utf-16"),
    "inf": f"<annotation><object><name>cat</name>{BOX.format('inf')}</object></annotation>",
    "nan": f"<annotation><object><name>cat</name>{BOX.format('nan')}</object></annotation>",
    "digits": f"<annotation><object><name>cat</name><difficult>{LONG}</difficult></object></annotation>",
    "latin-1": b"<annotation><object><name>caf\xe9</name></object></annotation>",
    "unknown-encoding": b'<?xml version="1.0" encoding="klingon"?><annotation></annotation>',
    "utf-7": b'<?xml version="1.0" encoding="utf-7"?><annotation></annotation>',
    "nul": b"<annotation>\0</annotation>",
    "empty": b"",
    "large": b"<annotation>" + b" " * (5 << 20) + b"</annotation>",
    "bidirectional-name": f"<annotation><object><name>c\u202eat</name>{BOX.format(1)}</object></annotation>",
    "long-name": f"<annotation><object><name>{'x' * 999}</name>{BOX.format(1)}</object></annotation>",
}


@pytest.mark.parametrize("name", VOC_TEXTS)
def test_an_annotation_that_cannot_be_used_is_named(tmp_path: Path, name: str) -> None:
    text, path = VOC_TEXTS[name], tmp_path / "a.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Fault) as raised:
        voc_boxes.things(path, (40, 30))
    refused(raised, "data-corrupt", path)


def test_nesting_of_an_annotation_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(f"<annotation>{'<part>' * 9999}{'</part>' * 9999}</annotation>")
    assert voc_boxes.things(tmp_path / "a.xml", (40, 30))[0] == []


LISTS = {
    "latin-1": (b"caf\xe9\n", "is not UTF-8"),
    "utf-16": ("a\n".encode("utf-16"), "is not UTF-8"),
    "nul": (b"a\0b\n", "1: 'a\\x00b' is no name"),
    "steps-up": (b"a\n../b\n", "2: '../b' is no name"),
    "absolute": (b"/etc/passwd\n", "is no name"),
    "escape": (b"a\x1b[2J\n", "'a\\x1b[2J' is no name"),
    "long": (b"x" * 100_000, "is no name"),
    "twice": (b"a\nb\na\n", "3 names a again, after line 1"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_cannot_be_used_is_named(tmp_path: Path, name: str) -> None:
    text, said = LISTS[name]
    path = tmp_path / "train.txt"
    path.write_bytes(text)
    with pytest.raises(Fault) as raised:
        image_files.listed(path)
    assert said in refused(raised, "data-corrupt", path)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\r\n")
    assert image_files.listed(tmp_path / "train.txt") == ["a", "b"]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(path: Path, width: int, height: int, *more: bytes) -> Path:
    """A small file that claims any size; its pixels are zeros."""
    rows = zlib.compress(bytes(1000))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), *more, chunk(b"IDAT", rows), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.mark.parametrize("side", [10_000, 14_000, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.case(16)
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    path = png(tmp_path / "a.png", side, side)
    path.write_bytes(path.read_bytes() + b"behind the end")  # which asks for a look at the pixels
    with pytest.raises(Fault, match="have more than 89478485 pixels") as raised:
        image_files.sizes([path])
    refused(raised, "data-corrupt", path)


@pytest.mark.case(16)
def test_a_text_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000)))
    path = png(tmp_path / "a.png", 4, 4, text)
    with pytest.raises(Fault, match="cut short or not images") as raised:
        image_files.sizes([path])
    refused(raised, "data-corrupt", path)
    assert Image.MAX_IMAGE_PIXELS == image_files.LARGEST
