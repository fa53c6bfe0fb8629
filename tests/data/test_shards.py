"""Images in tar files are the same images, with the same ids and fingerprint; what is hostile is refused."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.base.faults import Fault
from pretrain.data import check, dataset, fingerprint, shards
from pretrain.data.exclude import without
from pretrain.data.loader import open_loader
from pretrain.data.split import Split
from pretrain.data.view import Input, View
from tests import scenes

GIVEN = Input(size=8, resize=8)


def opened(root: Path, part: str = "train") -> Split:
    return dataset.find("imagenet").split(root, part)


def printed(split: Split) -> fingerprint.DataIdentity:
    memory = fingerprint.Fingerprints(split.root.parent / "no folder")
    return memory.of("x", lambda: fingerprint.of_split(split))


def batches(split: Split) -> list[torch.Tensor]:
    loader = open_loader(split, [View(size=8)], GIVEN, 0, torch.device("cpu"))
    return [batch.views[0] for batch in loader.batches(np.arange(len(split)), 5, 0)]


def pack(shard: Path, members: dict[str, bytes]) -> None:
    shard.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(shard, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def png(value: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (9, 9), (value, 0, 0)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return scenes.folder(tmp_path / "images", per_class=4)


def packed(folder: Path, root: Path, pieces: int = 2) -> Path:
    """The training images of a folder in shards of class folders, in an order of their own."""
    files = sorted((folder / "train").rglob("*.png"), key=lambda path: path.name)
    for i in range(pieces):
        named = {str(f.relative_to(folder / "train")): f.read_bytes() for f in files[i::pieces]}
        pack(root / f"train-{i:04d}.tar", named)
    return root


def test_packing_changes_neither_ids_nor_fingerprint_nor_views(folder: Path, tmp_path: Path) -> None:
    plain, tar = opened(folder), opened(packed(folder, tmp_path / "shards"))
    assert (tar.files, tar.classes) == (plain.files, plain.classes)
    assert tar.labels is not None
    assert plain.labels is not None
    assert tar.labels.tolist() == plain.labels.tolist()
    assert printed(tar) == printed(plain)
    assert all(map(torch.equal, batches(tar), batches(plain)))


def test_another_image_in_a_shard_is_another_fingerprint(folder: Path, tmp_path: Path) -> None:
    root, memory = packed(folder, tmp_path / "shards"), fingerprint.Fingerprints(tmp_path / "memory")

    def look() -> fingerprint.DataIdentity:
        return memory.of("x", lambda: fingerprint.of_split(opened(root)))

    first = look()
    assert look() == first
    pack(root / "train-0002.tar", {"class0/more.png": png()})
    assert look().images == first.images + 1
    pack(root / "train-0002.tar", {"class0/more.png": png(9)})
    assert look().images == first.images + 1
    assert len({first.fingerprint, look().fingerprint}) == 2


def test_a_shard_that_is_added_to_the_folder_of_a_part_is_noticed(tmp_path: Path) -> None:
    memory = fingerprint.Fingerprints(tmp_path / "memory")

    def look() -> fingerprint.DataIdentity:
        return memory.of("x", lambda: fingerprint.of_split(opened(tmp_path)))

    pack(tmp_path / "train" / "0.tar", {"a/1.png": png()})
    look()  # and keeps its index
    time.sleep(0.1)  # what has changed just now is listed twice
    assert look().images == 1
    pack(tmp_path / "train" / "1.tar", {"a/2.png": png(1)})
    assert look().images == 2


@pytest.mark.parametrize("ending", ["cls", "json"])
def test_numbers_beside_images_are_classes(tmp_path: Path, ending: str) -> None:
    members = {}
    for key, label in (("b", 2), ("a", 10), ("sub/c", 2)):
        members[f"{key}.png"] = png(label)
        text = str(label) if ending == "cls" else json.dumps({"label": label, "text": "x"})
        members[f"{key}.{ending}"] = text.encode()
    pack(tmp_path / "train" / "00.tar", members)
    split = opened(tmp_path)
    assert (split.files, split.classes) == (("02/b.png", "02/sub/c.png", "10/a.png"), ("02", "10"))
    assert [int(np.asarray(Image.open(split.place(i).opened()))[0, 0, 0]) for i in range(3)] == [2, 2, 10]


@pytest.mark.parametrize(
    ("shard", "wrapped"), [("train.tar", "train"), ("train/00.tar", "train"), ("train.tar", "trains")]
)
def test_a_folder_that_was_packed_with_its_name_is_the_part(
    tmp_path: Path, folder: Path, shard: str, wrapped: str
) -> None:
    files = sorted((folder / "train").rglob("*.png"))
    pack(tmp_path / shard, {f"{wrapped}/{f.relative_to(folder / 'train')}": f.read_bytes() for f in files})
    split = opened(tmp_path)
    if wrapped == "trains":  # a class like any other
        assert split.classes == ("trains",)
        return
    assert (split.files, split.classes) == (opened(folder).files, opened(folder).classes)
    assert printed(split) == printed(opened(folder))


def test_a_class_that_is_called_as_the_part_stays(tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", {"train/1.png": png(), "train/wagon/2.png": png()})
    assert opened(tmp_path).classes == ("train",)


def test_an_index_is_kept_and_made_anew_where_it_is_damaged_or_the_shard_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shard,) = packed(folder, tmp_path, pieces=1).glob("*.tar")
    first, open_tar, looks = shards.indexed(shard), tarfile.open, []
    monkeypatch.setattr(tarfile, "open", lambda *a: (looks.append(1), open_tar(*a))[1])
    assert shards.indexed(shard) == first
    assert looks == []
    (kept,) = (tmp_path / ".index").iterdir()
    kept.write_text(kept.read_text().replace("class0", "class1"))
    assert shards.indexed(shard) == first
    assert len(looks) == 1
    pack(shard, {"class0/1.png": png()})
    assert [member.name for member in shards.indexed(shard)] == ["class0/1.png"]


def test_a_bad_image_is_named_with_its_shard(tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", {"a/1.png": png(), "b/2.png": b"no image"})
    split = opened(tmp_path)
    with pytest.raises(Fault, match=r"train-0.tar: b/2.png cannot be decoded"):
        batches(split)
    assert [path for path, _ in check.bad_images(split, 1)] == [tmp_path / "train" / "b" / "2.png"]
    (tmp_path / "list.txt").write_text("train/a/1.png")
    left = without(split, tmp_path / "list.txt")
    assert left.place(0) == split.place(1)


@pytest.mark.parametrize("added", ["train/1.tar", "train/b/1.png"])
def test_what_is_added_beside_shards_is_noticed(tmp_path: Path, added: str) -> None:
    """Another shard, or class folders, which win."""
    root, seen = tmp_path / "set", fingerprint.Fingerprints(tmp_path / "memory")
    pack(root / "train" / "0.tar", {"a/1.png": png(1), "a/2.png": png(2), "b/3.png": png(3)})
    for _ in range(2):  # the index is made in the first look
        first = seen.of("x", lambda: fingerprint.of_split(opened(root)))
        time.sleep(0.05)
    if added.endswith("tar"):
        pack(root / added, {"b/4.png": png(4)})
    else:
        (root / "train" / "b").mkdir()
        (root / added).write_bytes(png(4))
    found = seen.of("x", lambda: fingerprint.of_split(opened(root)))
    assert (first.images, found.images) == (3, 4 if added.endswith("tar") else 1)


def odd(**changes: object) -> Callable[[Path], None]:
    """A shard with one entry that is no plain file within it."""

    def write(path: Path) -> None:
        entry = tarfile.TarInfo("a/2.png")
        for name, value in changes.items():
            setattr(entry, name, value)
        with tarfile.open(path, "w") as tar:
            first = tarfile.TarInfo("a/1.png")
            first.size = len(png())
            tar.addfile(first, io.BytesIO(png()))
            tar.addfile(entry, io.BytesIO(bytes(max(0, entry.size))) if entry.size < 1 << 20 else None)

    return write


def cut(path: Path) -> None:
    pack(path, {"a/1.png": png(), "a/2.png": png()})
    path.write_bytes(path.read_bytes()[:1300])


def overwritten(path: Path) -> None:
    """The second header is damaged: tarfile alone would take the first image for all there is."""
    pack(path, {"a/1.png": png(), "a/2.png": png()})
    content = bytearray(path.read_bytes())
    content[1024 + 148 : 1024 + 156] = b"garbage!"
    path.write_bytes(content)


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "link": (odd(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
    "hard link": (odd(type=tarfile.LNKTYPE, linkname="a/1.png"), "is a link"),
    "device": (odd(type=tarfile.CHRTYPE), "a device"),
    "absolute": (odd(name="/a/2.png"), "leads elsewhere"),
    "upwards": (odd(name="a/../../2.png"), "leads elsewhere"),
    "newline": (odd(name="a/2\n0\t9\tb.png"), "leads elsewhere"),
    "sparse": (odd(pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 50)}), "or sparse"),
    "larger than the file": (odd(size=1 << 40), "beyond its end; fetch it again|no whole tar"),
    "cut short": (cut, "no whole tar file"),
    "damaged header": (overwritten, "no end mark at byte 1024"),
    "empty": (lambda path: path.write_bytes(b""), "no whole tar file"),
    "no number": (
        lambda path: pack(path, {"1.png": png(), "1.cls": b"cat"}),
        "must hold the number of a class",
    ),
    "huge number": (lambda path: pack(path, {"1.png": png(), "1.cls": b"9" * 5000}), "the number of a class"),
    "deep": (lambda path: pack(path, {"1.png": png(), "1.json": b"[" * 99_999}), "the number of a class"),
    "no class": (lambda path: pack(path, {"1.png": png()}), "has no class"),
    "nothing": (lambda path: pack(path, {}), "no image with a class"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_shards_are_one_sentence(tmp_path: Path, name: str) -> None:
    write, said = HOSTILE[name]
    write(tmp_path / "train-0.tar")
    with pytest.raises(Fault, match=said) as raised:
        opened(tmp_path)
    assert str(tmp_path / "train-0.tar") in str(raised.value)


def test_an_image_that_two_shards_hold_is_refused(tmp_path: Path) -> None:
    for i in range(2):
        pack(tmp_path / f"train-{i}.tar", {"a/1.png": png()})
    with pytest.raises(Fault, match=r"train-0.tar and .*train-1.tar both hold a/1.png"):
        opened(tmp_path)


def test_class_folders_win_over_shards_and_lists_over_both(folder: Path) -> None:
    pack(folder / "train-0.tar", {"other/1.png": png()})
    assert "other" not in opened(folder).classes
    (folder / "meta").mkdir()
    (folder / "meta" / "train.txt").write_text("class0/000.png 0\n")
    assert len(opened(folder)) == 1


def test_a_list_of_images_that_are_packed_is_said(folder: Path, tmp_path: Path) -> None:
    root = packed(folder, tmp_path / "shards")
    (root / "meta").mkdir()
    (root / "meta" / "train_1percent.txt").write_text("class0/000.png 0\n")
    with pytest.raises(
        Fault, match=r"1percent.txt must name files below .*, but .* packed in .*0.tar; unpack"
    ):
        opened(root, "train_1percent")
