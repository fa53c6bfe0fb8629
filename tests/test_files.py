"""Files that are written anew keep what others rely on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pretrain.base import files
from pretrain.base.faults import Fault
from zoo.suites import file
from zoo.weights import source


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("mode", [0o664, 0o600, 0o444])
def test_a_file_that_is_written_anew_keeps_its_mode(mode: int, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("old")
    page.chmod(mode)
    files.write_text(page, "new")
    assert page.read_text() == "new"
    assert page.stat().st_mode & 0o777 == mode


def test_a_new_file_is_as_the_umask_says_whoever_writes_it(umask: int, tmp_path: Path) -> None:
    files.write(tmp_path / "w.safetensors", lambda aside: save_file({"w": torch.zeros(2)}, aside))
    files.write_text(tmp_path / "page.md", "new")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~umask}


@pytest.mark.case(25)
def test_two_writers_of_one_process_id_leave_a_whole_file(tmp_path: Path) -> None:
    """As in two containers that share a folder."""

    def save(aside: Path) -> None:
        with aside.open("w") as half:
            half.write("one ")
            half.flush()
            files.write_text(tmp_path / "page", "the other")
            half.write("whole")

    files.write(tmp_path / "page", save)
    assert (tmp_path / "page").read_text() == "one whole"
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_a_tilde_without_a_home_folder_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container that runs as a number has neither HOME nor a name."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("ZOO_CACHE", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _: {}["nobody"])
    with pytest.raises(Fault, match="this user has no home folder; set HOME, or ZOO_CACHE to a folder"):
        source.local("hf://org/name@main/x.pth")
    suite = tmp_path / "own.toml"
    suite.write_text("[data]\nimagenet = '~/images'\n")
    with pytest.raises(Fault, match="~/images: this user has no home folder; set HOME, or write the whole"):
        file.read(suite)
