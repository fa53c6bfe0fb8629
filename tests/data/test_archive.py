"""CIFAR and STL-10 from files in their official formats, tiny ones."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from torchvision import datasets

from pretrain.base.faults import Fault
from pretrain.data import dataset
from pretrain.data.archive import decoded

RNG = np.random.default_rng(0)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def sums(folder: Path, listed: list[list[str]]) -> list[list[str]]:
    return [[name, md5(folder / name)] for name, _ in listed]


def admit(patch: pytest.MonkeyPatch, official: Any, folder: Path) -> None:
    """Lets the official reader take the files of this test for the published ones."""
    patch.setattr(official, "train_list", sums(folder, official.train_list))
    patch.setattr(official, "test_list", sums(folder, official.test_list))
    if hasattr(official, "meta"):
        patch.setattr(official, "meta", {**official.meta, "md5": md5(folder / official.meta["filename"])})


def cifar(root: Path, official: Any, names: list[str]) -> dict[str, npt.NDArray[np.uint8]]:
    """Two images of classes 1 and 0 in each batch: pickles of `data` (N, 3072), a channel after the other."""
    folder, images = root / official.base_folder, {}
    folder.mkdir(parents=True)
    for name, _ in official.train_list + official.test_list:
        images[name] = RNG.integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
        labels = "fine_labels" if official is datasets.CIFAR100 else "labels"
        entry = {"data": images[name].reshape(2, 3072), labels: [1, 0]}
        (folder / name).write_bytes(pickle.dumps(entry))
    (folder / official.meta["filename"]).write_bytes(pickle.dumps({official.meta["key"]: names}))
    return images


@pytest.mark.parametrize(
    ("name", "official", "first"),
    [("cifar10", datasets.CIFAR10, "data_batch_1"), ("cifar100", datasets.CIFAR100, "train")],
)
def test_cifar_is_decoded_once_and_read_as_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, official: Any, first: str
) -> None:
    images = cifar(tmp_path, official, ["ant", "sea_bee"])
    admit(monkeypatch, official, tmp_path / official.base_folder)
    train = dataset.find(name).split(tmp_path, "train")
    assert len(train) == 2 * len(official.train_list)
    assert train.classes == ("ant", "sea_bee")
    assert train.path(0) == tmp_path / "png" / "train" / "ant" / "00001.png"
    assert (np.asarray(Image.open(train.path(0))) == images[first][1].transpose(1, 2, 0)).all()
    test = dataset.find(name).split(tmp_path, "test")
    assert test.labels is not None
    assert test.labels.tolist() == [0, 1]
    before = train.path(0).stat().st_mtime_ns
    (tmp_path / official.base_folder).rename(tmp_path / "away")
    again = dataset.find(name).split(tmp_path, "train")
    assert again.files == train.files
    assert again.path(0).stat().st_mtime_ns == before


def stl(root: Path) -> dict[str, npt.NDArray[np.uint8]]:
    """Two images a part: bytes (N, 3, 96, 96) by columns, labels from 1."""
    folder, images = root / "stl10_binary", {}
    folder.mkdir(parents=True)
    for part in ("train", "test", "unlabeled"):
        images[part] = RNG.integers(0, 256, (2, 3, 96, 96), dtype=np.uint8)
        images[part].transpose(0, 1, 3, 2).tofile(folder / f"{part}_X.bin")
        np.array([2, 1], dtype=np.uint8).tofile(folder / f"{part}_y.bin")
    (folder / "class_names.txt").write_text("ant\nbee\n")
    return images


def test_stl10_is_decoded_with_and_without_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = stl(tmp_path)
    admit(monkeypatch, datasets.STL10, tmp_path / "stl10_binary")
    found = dataset.find("stl10")
    test, unlabeled = (found.split(tmp_path, part) for part in ("test", "unlabeled"))
    assert test.files == ("ant/00001.png", "bee/00000.png")
    assert (np.asarray(Image.open(test.path(0))) == images["test"][1].transpose(1, 2, 0)).all()
    assert unlabeled.files == ("00000.png", "00001.png")
    assert unlabeled.labels is None
    assert (np.asarray(Image.open(unlabeled.path(0))) == images["unlabeled"][0].transpose(1, 2, 0)).all()


@pytest.mark.case(35)
def test_files_that_are_not_the_published_ones_are_refused(tmp_path: Path) -> None:
    cifar(tmp_path / "a", datasets.CIFAR10, ["ant", "bee"])
    stl(tmp_path / "b")
    for name, root in (("cifar10", tmp_path / "a"), ("stl10", tmp_path / "b")):
        with pytest.raises(Fault, match=r"not as published .*; fetch them again") as error:
            dataset.find(name).split(root, "train")
        assert error.value.reason == "data-corrupt"
        assert not (root / "png" / "train").exists()


def test_a_decoding_that_was_cut_off_starts_again(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)

    def cut_off() -> Any:
        yield pixels, "ant"
        yield pixels, "odd"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoded(tmp_path, "train", tmp_path, "files", cut_off)
    assert not (tmp_path / "png" / "train").exists()
    folder = decoded(tmp_path, "train", tmp_path, "files", lambda: [(pixels, "ant")])
    assert [str(path.relative_to(folder)) for path in folder.rglob("*.png")] == ["ant/00000.png"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # rights do not bind root, who runs some tests
    with pytest.raises(Fault, match="cannot be written, but its images are decoded into png/ once"):
        decoded(tmp_path, "train", tmp_path, "files", list)


def test_nothing_is_made_where_the_official_files_are_absent(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"cifar-10-batches-py is not there; expected layout") as error:
        dataset.find("cifar10").split(tmp_path / "nowhere", "train")
    assert error.value.reason == "data-missing"
    assert list(tmp_path.iterdir()) == []
