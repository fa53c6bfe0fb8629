"""Parquet and arrow tables of Hugging Face are read as the images that they hold, copied once."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pretrain.base.faults import Fault
from pretrain.data import dataset, fingerprint
from tests.data.test_shards import png

pa = pytest.importorskip("pyarrow", reason="tables need pyarrow")
KINDS = ["parquet", "arrow", "arrow file"]


def write(
    path: Path, kind: str, images: list[Any], labels: list[Any], names: list[str] | None = None
) -> Path:
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [image if isinstance(image, dict) else {"bytes": image, "path": None} for image in images]
    table = pa.table(
        {"image": rows, "label": pa.array(labels, None if isinstance(labels[0], str) else pa.int64())}
    )
    if names is not None:
        said = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(said)})
    if kind == "parquet":
        pyarrow.parquet.write_table(table, path)
        return path
    opened = pa.ipc.new_stream if kind == "arrow" else pa.ipc.new_file
    with opened(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_their_images(tmp_path: Path, kind: str) -> None:
    ending = kind.partition(" ")[0]
    for i in range(2):
        path = tmp_path / f"train-{i:05d}-of-00002.{ending}"
        write(path, kind, [png(10 * i + 1), png(10 * i + 2)], [1, 0], ["tench", "gold fish/x"])
    split = dataset.find("imagenet").split(tmp_path, "train")
    assert split.classes == ("00000_tench", "00001_gold_fish_x")
    assert split.labels is not None
    assert split.labels.tolist() == [0, 0, 1, 1]
    reds = [int(np.asarray(Image.open(split.place(i).opened()))[0, 0, 0]) for i in range(4)]
    assert reds == [2, 12, 1, 11]
    before = [shard.stat().st_mtime_ns for shard in (tmp_path / "packed").glob("*.tar")]
    assert dataset.find("imagenet").split(tmp_path, "train").files == split.files
    assert [shard.stat().st_mtime_ns for shard in (tmp_path / "packed").glob("*.tar")] == before


@pytest.mark.parametrize("number", ["", "-00000-of-00001"])
def test_a_part_is_a_whole_word_of_a_tables_name(tmp_path: Path, number: str) -> None:
    """Of `carnival-train.arrow`, as Hugging Face's cache calls it, val is none."""
    for i, part in enumerate(("train", "validation")):
        write(tmp_path / f"carnival-{part}{number}.arrow", "arrow", [png(i)], [i])
    read = dataset.find("imagenet").split
    assert [read(tmp_path, part).classes for part in ("train", "val")] == [("00000",), ("00001",)]


@pytest.mark.parametrize("seconds", [10, -(10**6)])
def test_a_table_that_was_replaced_is_copied_again(tmp_path: Path, seconds: int) -> None:
    """By an older one, too: it may have been downloaded before the first was read."""
    path = write(tmp_path / "data" / "validation-0.parquet", "parquet", [png(1)], [0])
    read = dataset.find("imagenet").split
    assert len(read(tmp_path, "val")) == 1
    write(path, "parquet", [png(1), png(2)], [0, 3])
    changed = path.stat().st_mtime_ns + seconds * 10**9
    os.utime(path, ns=(changed, changed))
    assert read(tmp_path, "val").classes == ("00000", "00003")


def test_a_table_that_was_replaced_is_another_fingerprint(tmp_path: Path) -> None:
    memory = fingerprint.Fingerprints(tmp_path / "memory")

    def look() -> fingerprint.DataIdentity:
        return memory.of("x", lambda: fingerprint.of_split(dataset.find("imagenet").split(tmp_path, "train")))

    path = write(tmp_path / "data" / "train-0.parquet", "parquet", [png(1)], [0])
    look()  # and copies it
    time.sleep(0.1)  # what has changed just now is listed twice
    first = look()
    write(path, "parquet", [png(2)], [0])
    assert look().fingerprint != first.fingerprint
    write(path.with_name("train-1.parquet"), "parquet", [png(3)], [0])
    assert look().images == 2


BAD: dict[str, tuple[list[Any], list[Any], str]] = {
    "path instead of bytes": ([{"bytes": None, "path": "/etc/passwd"}], [0], "must hold the bytes of files"),
    "unlabelled": ([b"\xff\xd8"], [-1], "label -1 is no class"),
    "null": ([b"\xff\xd8"], [None], "label None is no class"),
    "name": ([b"\xff\xd8"], ["ant"], r"label 'ant' is no class, expected its number, from 0; number the"),
    "no image": ([b"text"], [0], "row 0 holds no image of a known format"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_one_sentence_and_leave_nothing(tmp_path: Path, name: str) -> None:
    images, labels, said = BAD[name]
    path = write(tmp_path / "train-0.parquet", "parquet", images, labels)
    with pytest.raises(Fault, match=said) as raised:
        dataset.find("imagenet").split(tmp_path, "train")
    assert str(path) in str(raised.value)
    assert list((tmp_path / "packed").glob("*.tar")) == []


def test_tiff_is_a_known_format_in_either_order_of_bytes(tmp_path: Path) -> None:
    out = [io.BytesIO(), io.BytesIO()]
    Image.new("RGB", (9, 9)).save(out[0], "TIFF")
    Image.frombytes("I;16B", (2, 2), bytes(8)).save(out[1], "TIFF")
    assert [one.getvalue()[:2] for one in out] == [b"II", b"MM"]
    write(tmp_path / "train-0.parquet", "parquet", [one.getvalue() for one in out], [0, 1])
    assert len(dataset.find("imagenet").split(tmp_path, "train")) == 2


@pytest.mark.parametrize("content", [b"", b"PAR1 nonsense", b"PAR1" + bytes(99) + b"PAR1"])
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_damaged_tables_are_one_sentence(tmp_path: Path, content: bytes, ending: str) -> None:
    (tmp_path / f"train-0.{ending}").write_bytes(content)
    with pytest.raises(Fault, match="is no whole table"):
        dataset.find("imagenet").split(tmp_path, "train")


def test_without_pyarrow_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "train-0.parquet", "parquet", [png()], [0])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Fault, match="needs the package pyarrow; install it, or unpack") as raised:
        dataset.find("imagenet").split(tmp_path, "train")
    assert raised.value.reason == "dependency-missing"


def test_other_columns_are_named(tmp_path: Path) -> None:
    import pyarrow.parquet

    path = tmp_path / "train-0.parquet"
    pyarrow.parquet.write_table(pa.table({"img": [png()], "fine_label": [0]}), path)
    with pytest.raises(Fault, match="expected columns image and label, got img, fine_label; rename those"):
        dataset.find("imagenet").split(tmp_path, "train")


def test_a_row_without_an_image_is_not_called_a_path(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", "parquet", [{"bytes": None, "path": None}], [0])
    with pytest.raises(Fault, match=r"got \{'bytes': None, .*\}; write the bytes, or drop the row"):
        dataset.find("imagenet").split(tmp_path, "train")
