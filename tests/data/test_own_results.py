"""Pictures that the zoo makes are never taken for data, wherever they are written."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.data.fingerprint import Fingerprints, of_split
from pretrain.data.split import from_class_folders, from_folder
from tests import scenes
from zoo.clusters import sheets
from zoo.engines import inline
from zoo.engines.engine import Orders
from zoo.plan.planner import Planner
from zoo.request import resolve
from zoo.show.progress import Display


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)


def test_a_folder_of_results_is_passed_by_unless_it_is_asked_for(tmp_path: Path) -> None:
    files.for_results(tmp_path / "runs" / "a")
    put(tmp_path / "1.png")
    put(tmp_path / "runs" / "2.png")
    put(tmp_path / "runs" / "a" / "3.png")
    put(tmp_path / "runs" / "a" / "below" / "4.png")
    assert from_folder("x", tmp_path).files == ("1.png", "runs/2.png")
    assert from_folder("x", tmp_path / "runs" / "a").files == ("3.png", "below/4.png")


def test_a_folder_that_is_no_longer_marked_is_noticed(tmp_path: Path) -> None:
    put(tmp_path / "images" / "1.png")
    put(tmp_path / "images" / "more" / "2.png")
    files.for_results(tmp_path / "images" / "more")
    time.sleep(0.1)  # what changed just before it was listed is looked at again anyway

    def images() -> int:
        take = partial(from_folder, "x", tmp_path / "images")
        return Fingerprints(tmp_path / "memory").of("x", lambda: of_split(take())).images

    assert images() == 1
    (tmp_path / "images" / "more" / files.NOT_DATA).unlink()
    assert images() == 2


def test_a_folder_of_results_among_class_folders_is_no_class(tmp_path: Path) -> None:
    root = tmp_path / "train"
    for name in ("ant", "bee", "sheets"):
        put(root / name / "1.png")
    files.for_results(root / "sheets")
    time.sleep(0.1)  # what changed just before it was listed is looked at again anyway
    take = partial(from_class_folders, "x", root)
    assert take().classes == ("ant", "bee")
    memory = Fingerprints(tmp_path / "memory")
    assert memory.of("x", lambda: of_split(take())).classes == 2
    (root / "sheets" / files.NOT_DATA).unlink()
    assert memory.of("x", lambda: of_split(take())).classes == 3


@pytest.mark.slow
def test_a_run_does_not_change_the_images_around_its_home(tmp_path: Path) -> None:
    scenes.folder(tmp_path / "images", per_class=4)
    head = "variant = 'smoke'\nimages = '.'\nprotocols = ['clustering']\n"
    (tmp_path / "own.toml").write_text(f"{head}[data]\nimagenet = 'images'\n")
    before = from_folder("x", tmp_path).files
    planner = Planner(resolve(["random"], None, str(tmp_path / "own.toml"), tmp_path / "runs" / "own", []))
    made = planner.plan()
    inline.run(made, planner, Orders(), Display(len(made)))
    assert list((tmp_path / "runs").rglob("*.jpg")), "it has made pictures"
    assert from_folder("x", tmp_path).files == before


def test_sheets_are_no_data_but_a_folder_that_was_there_stays_data(tmp_path: Path) -> None:
    put(tmp_path / "images" / "1.png")
    split = from_folder("x", tmp_path / "images")
    found = np.zeros((1, 4))
    sheets.write(tmp_path / "images" / "sheets", split, found, {})
    assert from_folder("x", tmp_path / "images").files == ("1.png",)
    sheets.write(tmp_path / "images", split, found, {})
    assert from_folder("x", tmp_path).files == ("images/1.png", "images/cluster-00000.png")


@pytest.mark.parametrize("line", ["images = ''", "exclude = ''", "[data]\nimagenet = ''"])
def test_an_empty_path_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "own.toml").write_text(line)
    with pytest.raises(Fault, match="expected a text of 1 or more characters, got ''"):
        resolve(["random"], None, str(tmp_path / "own.toml"), tmp_path / "out", [])
