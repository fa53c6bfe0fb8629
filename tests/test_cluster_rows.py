"""Rows that are computed part by part: a stopped or killed run goes on, what was harmed is computed again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import clustered, scenes
from zoo.clusters import rows
from zoo.clusters.rows import Growing, Part, Shape


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three kinds of images, 18 in all, in nested folders."""
    return scenes.folder(tmp_path_factory.mktemp("images"), per_class=3)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder: a backbone, and clusters beside it around the features of three kinds of images."""
    return clustered.model(tmp_path / "model")


def growing(place: Path, identity: str = "x") -> Growing:
    return Growing(place / "f.npy", identity, Shape(10, 2, "float32"), part=3)


def quiet(done: int, total: int) -> None:
    """Nobody is told."""


class Maker:
    """Rows (n, n + 1), which are counted; after `dies` parts it stops."""

    def __init__(self, dies: int = 99) -> None:
        self.made, self.dies = list[int](), dies

    def __call__(self, first: int, last: int) -> Part:
        if len(self.made) == self.dies:
            raise KeyboardInterrupt
        self.made.append(first)
        values = np.arange(first, last, dtype=np.float32)[:, None] + [0, 1]
        return Part(values, {first: "bad"} if first == 3 else {})


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        growing(tmp_path).fill(Maker(dies=2), quiet)
    again, maker = growing(tmp_path), Maker()
    again.fill(maker, quiet)
    assert maker.made == [6, 9]
    assert again.array()[:, 0].tolist() == list(range(10))
    assert again.bad == {3: "bad"}


@pytest.mark.parametrize("harm", ["bit", "cut", "journal", "gone", "header"])
def test_what_was_harmed_is_computed_again(tmp_path: Path, harm: str) -> None:
    first = growing(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        first.fill(Maker(dies=3), quiet)
    body = bytearray(first.rows.read_bytes())
    if harm == "bit":
        body[-25] ^= 1  # in the third part
        first.rows.write_bytes(body)
    elif harm == "cut":
        first.rows.write_bytes(body[:-30])
    elif harm == "journal":
        first.journal.write_text(first.journal.read_text()[:-5])
    elif harm == "gone":
        first.rows.unlink()
    else:
        first.rows.write_bytes(b"no numpy" + body[8:])
    again, maker = growing(tmp_path), Maker()
    again.fill(maker, quiet)
    assert again.array()[:, 0].tolist() == list(range(10))
    expected = {"bit": [3, 6, 9], "cut": [3, 6, 9], "journal": [6, 9]}
    assert maker.made == expected.get(harm, [0, 3, 6, 9])


def test_parts_of_other_weights_are_no_start(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        growing(tmp_path).fill(Maker(dies=2), quiet)
    maker = Maker()
    growing(tmp_path, "other").fill(maker, quiet)
    assert maker.made == [0, 3, 6, 9]


KILLED = """
import os, sys, zoo.clusters.rows as rows
from zoo.clusters import assign, features
from zoo.clusters.model import find
from pathlib import Path
def told(what):
    return lambda done, total: os.kill(os.getpid(), 9) if done >= 8 and sys.argv[4] == "kill" else None
assign.Told = told
class Small(rows.Growing):
    def __init__(self, *words): super().__init__(*words, part=4)
features.Growing = Small
assign.embed(find(sys.argv[1], Path("home")), assign.Asked(Path(sys.argv[2]), Path(sys.argv[3])), "avg")
"""


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_bits(model: Path, images: Path, tmp_path: Path) -> None:
    def run(out: str, how: str) -> int:
        words = [sys.executable, "-c", KILLED, str(model), str(images), str(tmp_path / out), how]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        return subprocess.run(words, env=env, check=False, cwd=tmp_path).returncode

    assert run("killed.npy", "kill") == -signal.SIGKILL
    assert len((tmp_path / ".killed.npy.journal").read_text().splitlines()) == 3
    assert run("killed.npy", "go on") == run("whole.npy", "go on") == 0
    assert (tmp_path / "killed.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_small_parts_and_large_ones_cover_all_rows() -> None:
    assert [(s.start, s.stop) for s in rows.parts(7, 3)] == [(0, 3), (3, 6), (6, 7)]
    assert rows.parts(0, 3) == []
