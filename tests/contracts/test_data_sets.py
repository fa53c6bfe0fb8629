"""What every file of pretrain/data/sets must do: say its layout, read the embedded data, name what lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from pretrain.data import dataset

NAMES = dataset.names()
READ = [
    (name, split)
    for name in NAMES
    if dataset.find(name).read is not None
    for split in dataset.find(name).counts
]
EMBEDDED = ("VOCdevkit", "coco", "cityscapes", "imagenet", "inat18", "places205", "voc07")  # what is drawn


def folder(name: str) -> str:
    return dataset.find(name).folder or name


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_is_one_line(name: str) -> None:
    found = dataset.find(name)
    assert found.layout
    assert "\n" not in found.layout
    assert found.read is not None or not found.counts


@pytest.mark.parametrize(("name", "split"), [case for case in READ if case[0] in EMBEDDED])
def test_a_split_is_read(name: str, split: str, digits: Path) -> None:
    found = dataset.find(name).split(digits / folder(name), split)
    assert len(found) > 0
    assert all(found.path(i).is_file() for i in range(len(found)))
    assert len(set(found.files)) == len(found), "an image is listed once"
    assert found.labels is not None
    assert len(found.labels) == len(found)
    assert found.sources, "what says which images belong is part of the data's identity"
    if found.labels.ndim == 1:
        assert 0 <= found.labels.min() <= found.labels.max() < len(found.classes)
    else:
        assert set(found.labels.flat) <= {-1, 0, 1}
        assert found.labels.shape[1] == len(found.classes)


@pytest.mark.parametrize(("name", "split"), READ)
def test_an_absent_folder_is_said_with_its_layout(name: str, split: str, tmp_path: Path) -> None:
    with pytest.raises(Fault) as error:
        dataset.find(name).split(tmp_path / "nowhere", split)
    assert error.value.reason == "data-missing"
    assert str(tmp_path) in str(error.value)
    assert dataset.find(name).layout in str(error.value)


@pytest.mark.parametrize("name", [name for name, _ in dict(READ).items()])
def test_an_unknown_split_is_refused(name: str, digits: Path) -> None:
    with pytest.raises(Fault):
        dataset.find(name).split(digits / folder(name), "nonsense")


@pytest.mark.parametrize("name", [name for name in NAMES if dataset.find(name).read is None])
def test_a_set_that_is_read_as_a_whole_has_no_splits(name: str, tmp_path: Path) -> None:
    with pytest.raises(Fault, match="read as a whole by a foreign trainer"):
        dataset.find(name).split(tmp_path, "train")
