"""Splits are read strictly: the right labels, and one sentence with file and line where something is
wrong.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.base import identity
from pretrain.base.faults import Fault
from pretrain.data import fingerprint, loader
from pretrain.data.fingerprint import Fingerprints, Inventory, of_split
from pretrain.data.sets import imagenet, voc07
from pretrain.data.split import Split, from_list
from pretrain.data.view import Input, centre_view
from tests import scenes

GIVEN = Input(size=8, resize=8)


def voc(root: Path, values: dict[str, str], ids: str = "000001\n000002\n000003\n") -> Path:
    lists = root / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "test.txt").write_text(ids)
    for name, text in values.items():
        (lists / name).write_text(text)
    return root


def test_voc_values_become_present_absent_and_ignored(tmp_path: Path) -> None:
    """File 1 / -1 / 0 (present, absent, only difficult) -> 1 / 0 / -1; classes in alphabetical order."""
    files = {
        "cat_test.txt": "000001  1\n000002 -1\n000003  0\n",
        "ant_test.txt": "000001 -1\n000002  1\n000003 -1\n",
    }
    split = voc07.read(voc(tmp_path, {**files, "cat_left_test.txt": "odd"}), "test")
    assert split.classes == ("ant", "cat")
    assert split.labels is not None
    assert split.labels.tolist() == [[0, 1], [1, 0], [0, -1]]
    assert split.files == ("000001.jpg", "000002.jpg", "000003.jpg")


@pytest.mark.parametrize(
    ("text", "ids", "said"),
    [
        (
            "000001 1\n000002 2\n000003 1\n",
            "000001\n000002\n000003\n",
            "cat_test.txt:2: expected 'id 1|0|-1'",
        ),
        ("000001 1\n", "000001\n000002\n", "its 1 ids differ from the 2"),
        ("000001 1\n000002 1\n", "000002\n000001\n", "expected ids in sorted order"),
    ],
)
def test_voc_lists_are_checked(tmp_path: Path, text: str, ids: str, said: str) -> None:
    with pytest.raises(Fault, match=said.replace("|", r"\|")):
        voc07.read(voc(tmp_path, {"cat_test.txt": text}, ids), "test")


@pytest.mark.parametrize(("line", "number"), [("a/b.jpg", 2), ("a/b.jpg x", 2), (" 3", 2)])
def test_a_list_line_without_a_label_is_named(tmp_path: Path, line: str, number: int) -> None:
    (tmp_path / "train.txt").write_text(f"ok/1.jpg 0\n{line}\n")
    with pytest.raises(Fault, match=rf"train.txt:{number}: expected 'relative/path label'"):
        from_list("x", tmp_path, tmp_path / "train.txt")


def test_a_path_with_blanks_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a b/c d.jpg 7\n")
    split = from_list("x", tmp_path, tmp_path / "train.txt")
    assert split.files == ("a b/c d.jpg",)
    assert split.labels is not None
    assert split.labels.tolist() == [7]


def printed(split: Split, memory: Path) -> str:
    return Fingerprints(memory).of(split.name, lambda: of_split(split)).fingerprint


@pytest.mark.case(27)
def test_a_fingerprint_sees_names_contents_and_labels(tmp_path: Path) -> None:
    root, memory = scenes.folder(tmp_path / "images", per_class=2), tmp_path / "memory"
    split = imagenet.read(root, "train")
    first = printed(split, memory)
    assert printed(imagenet.read(root, "train"), tmp_path / "other memory") == first
    assert split.labels is not None
    moved = replace(split, labels=split.labels[::-1].copy())
    assert printed(moved, tmp_path / "moved") != first
    renamed = replace(split, classes=("ant", "bee", "cat"))
    assert printed(renamed, tmp_path / "renamed") != first
    path, other = split.path(0), split.path(1)
    path.rename(path.with_name("aside"))
    other.rename(path)
    path.with_name("aside").rename(other)  # the same names and contents, exchanged
    assert printed(split, memory) != first
    path.write_bytes(path.read_bytes() + b"x")
    assert printed(split, memory) != first
    path.unlink()
    with pytest.raises(
        Fault, match=r"1 of the files that images/train names are not there, first .*000\.png"
    ):
        printed(split, memory)


def test_a_fingerprint_does_not_depend_on_the_place_of_the_data(tmp_path: Path) -> None:
    one, two = (imagenet.read(scenes.folder(tmp_path / name), "train") for name in ("here", "there"))
    assert printed(one, tmp_path / "memory") == printed(two, tmp_path / "memory")


def test_a_name_that_is_no_utf_8_has_a_fingerprint_of_its_own(tmp_path: Path) -> None:
    found = list[str]()
    for name in ("\udcff.png", "\udcfe.png", "\\udcff.png"):
        root = scenes.folder(tmp_path / f"images{len(found)}", per_class=2)
        path = root / "train" / "class0" / "000.png"
        path.rename(path.with_name(name))
        split = imagenet.read(root, "train")
        found.append(printed(split, tmp_path / "memory"))
        assert printed(split, tmp_path / "other memory") == found[-1]
    assert len(set(found)) == 3


def test_of_many_images_an_even_sample_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 9 images four: 0, 2, 5 and 8. How many there are counts, and a list of all paths says the same."""
    split = imagenet.read(scenes.folder(tmp_path / "images", classes=3, per_class=3), "train")
    whole = of_split(split)
    monkeypatch.setattr(fingerprint, "SAMPLE_ABOVE", 8)
    monkeypatch.setattr(fingerprint, "SAMPLE", 4)
    found = of_split(split)
    assert [split.files.index(str(path.relative_to(split.root))) for path in found.images] == [0, 2, 5, 8]
    expected = identity.digest(
        [
            found.more,
            9,
            [
                [split.files[i], identity.shortened(hashlib.sha256(split.path(i).read_bytes()))]
                for i in (0, 2, 5, 8)
            ],
        ]
    )
    memories = (Fingerprints(tmp_path / name) for name in ("sampled", "listed"))
    for memory, inventory in zip(memories, (found, whole), strict=True):
        taken = memory.of("x", lambda inventory=inventory: inventory)
        assert (taken.fingerprint, taken.images, taken.hashed) == (expected, 9, 4)


@pytest.mark.case(6)
def test_a_memory_with_a_flipped_bit_is_no_memory(tmp_path: Path) -> None:
    split, memory = imagenet.read(scenes.folder(tmp_path / "images", per_class=2), "train"), tmp_path / "m"
    time.sleep(0.1)
    first = Fingerprints(memory).of("x", lambda: of_split(split))
    (path,) = memory.glob("*.json")
    path.write_text(path.read_text().replace('"images": 6', '"images": 7'))
    assert Fingerprints(memory).of("x", lambda: of_split(split)) == first


def test_a_second_look_lists_nothing_until_a_file_is_added(tmp_path: Path) -> None:
    root, looks = scenes.folder(tmp_path / "images", per_class=2), list[int]()
    time.sleep(0.1)  # what has changed just now is listed twice
    seen = Fingerprints(tmp_path / "memory")

    def look() -> Inventory:
        looks.append(1)
        return of_split(imagenet.read(root, "train"))

    first = seen.of("imagenet/train", look)
    assert Fingerprints(tmp_path / "memory").of("imagenet/train", look) == first
    assert len(looks) == 1
    assert (first.images, first.classes, first.hashed) == (6, 3, 6)
    image = root / "train" / "class0" / "000.png"
    (root / "train" / "class1" / "more.png").write_bytes(image.read_bytes())
    assert seen.of("imagenet/train", look).images == 7
    assert len(looks) == 2


def test_a_memory_that_cannot_be_written_or_read_is_done_without(tmp_path: Path) -> None:
    split = imagenet.read(scenes.folder(tmp_path / "images", per_class=2), "train")
    first = printed(split, tmp_path / "memory")
    (tmp_path / "file").touch()
    assert printed(split, tmp_path / "file" / "no folder") == first
    for kept in (tmp_path / "memory").iterdir():
        kept.write_text("{}")
    assert printed(split, tmp_path / "memory") == first


def one(path: Path) -> loader.Loader:
    split = Split("x", path.parent, (path.name,), np.zeros(1, dtype=np.int64), ("0",))
    return loader.open_loader(split, [centre_view(GIVEN)], GIVEN, 0, torch.device("cpu"))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
@pytest.mark.case(16)
def test_every_colour_mode_is_read_as_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"x.{'jpg' if mode == 'CMYK' else 'png'}"
    Image.fromarray(np.full((9, 7, 3), 200, dtype=np.uint8)).convert(mode).save(path)
    (batch,) = one(path).batches(np.zeros(1, dtype=np.int64), 1, 0)
    assert batch.views[0].shape == (1, 3, 8, 8)


@pytest.mark.parametrize("kept", [0, 20, 400])
def test_a_truncated_image_is_named(tmp_path: Path, kept: int) -> None:
    whole = tmp_path / "w.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(whole)
    (tmp_path / "bad.jpg").write_bytes(whole.read_bytes()[:kept])
    with pytest.raises(Fault, match=r"bad.jpg cannot be decoded"):
        one(tmp_path / "bad.jpg").images.made([(0, 0, 0)])


def test_workers_deliver_the_same_views_in_the_same_order(tmp_path: Path) -> None:
    split = imagenet.read(scenes.folder(tmp_path), "train")
    order = np.random.default_rng(0).permutation(len(split))
    views = [centre_view(GIVEN)]
    here = loader.open_loader(split, views, GIVEN, 0, torch.device("cpu"))
    there = loader.Loader(here.images, GIVEN, torch.device("cpu"), workers=2)
    for mine, theirs in zip(here.batches(order, 7, 3), there.batches(order, 7, 3), strict=True):
        assert torch.equal(mine.index, theirs.index)
        assert torch.equal(mine.views[0], theirs.views[0])


def test_blood_cells_have_their_counted_labels(samples: Path) -> None:
    split = voc07.read(samples / "bccd" / "VOCdevkit", "trainval")
    assert split.classes == ("Platelets", "RBC", "WBC")
    assert split.labels is not None
    assert (split.labels == 1).sum(0).tolist() == [162, 280, 290]


@pytest.mark.parametrize("percent", [1, 10])
def test_simclr_lists_of_bare_names_find_their_class(samples: Path, tmp_path: Path, percent: int) -> None:
    lists = samples / "imagenet-semi-lists" / "imagenet_subsets"
    names = (lists / f"{percent}percent.txt").read_text().split()
    for wnid in {name.partition("_")[0] for name in names}:
        (tmp_path / "train" / wnid).mkdir(parents=True)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / f"train_{percent}percent.txt").write_text("\n".join(names))
    split = imagenet.read(tmp_path, f"train_{percent}percent")
    assert len(split) == imagenet.COUNTS[f"train_{percent}percent"]
    assert len(split.classes) == 1000
    assert split.labels is not None
    assert split.files[0] == f"{names[0].partition('_')[0]}/{names[0]}"
    assert split.classes[int(split.labels[0])] == names[0].partition("_")[0]


def test_a_list_line_is_numbered_with_the_blank_lines_above_it(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("ok/1.jpg 0\n\n\nbad.jpg\n")
    with pytest.raises(Fault, match=r"train.txt:4: "):
        from_list("x", tmp_path, tmp_path / "train.txt")


@pytest.mark.parametrize("name", ["train", "train_1percent"])
def test_a_first_line_without_a_label_is_not_taken_for_a_list_of_bare_names(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / f"{name}.txt").write_text("a/1.jpg\na/2.jpg 0\n")
    with pytest.raises(Fault, match=rf"{name}.txt:1: expected 'relative/path label'"):
        imagenet.read(tmp_path, name)
