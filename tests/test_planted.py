"""Mistakes planted in the evaluation make `zoo gate` fail, by the numbers of known weights.

Each child process changes one public function before the command runs. Pretraining is not run again, so that
no mistake can hide behind other weights, and every number may differ by the floor alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from zoo.gate import Form, gate

pytestmark = pytest.mark.slow  # whole commands, a process each
MAIN = "from zoo.cli import main\nmain()\n"
FAILING = ("regressed", "moved")

CROP = """
from pretrain.base.settings import changed
from pretrain.data import loader
right = loader.crop
def larger(image, view, u):
    return right(image, changed(view, resize=view.resize + 4) if view.geometry == "center" else view, u)
loader.crop = larger
"""
BGR = """
from PIL import Image
from pretrain.data import loader
right = loader.read
loader.read = lambda split, i: Image.merge("RGB", right(split, i).split()[::-1])
"""
STD = """
from pretrain.base.settings import changed
from pretrain.data import loader
right = loader.finish
loader.finish = lambda x, view, u, given: right(x, view, u, changed(given, std=(1.0, 1.0, 1.0)))
"""
UNLOADED = """
from pretrain.nets import archs, checkpoint
right = checkpoint.load
def fresh(path):
    loaded = right(path)
    loaded.stages = archs.build(checkpoint.describe(path).arch, loaded.input, seed=0).eval().stages
    return loaded
checkpoint.load = fresh
"""
LAYER = """
from pretrain.nets import checkpoint
right = checkpoint.load
def shallower(path):
    loaded = right(path)
    stages = loaded.stages
    def off_by_one(x):
        maps = stages(x)
        return [maps[0], *maps[:-1]]
    loaded.stages = off_by_one
    return loaded
checkpoint.load = shallower
"""


class Zoo:
    """A suite of three models and two protocols, and homes that share its pretraining."""

    def __init__(self, folder: Path, digits: Path) -> None:
        self.folder, self.suite, self.baseline = folder, folder / "own.toml", folder / "baseline.json"
        self.suite.write_text(
            "variant = 'smoke'\nimages = 'imagenet/train'\nbeside = ['random', 'raw_pixels']\n"
            "protocols = ['imagenet_knn', 'imagenet_linear']\n"
            f"[data]\nimagenet = '{digits / 'imagenet'}'\n"
            "[odc]\nepochs = 2\n"
            "[imagenet_linear]\nfeatures.epochs = 1\naverage.epochs = 2\naverage_swav.epochs = 2\n"
        )

    def compute(self, name: str, plant: str = "") -> Path:
        """A home of its own with every benchmark; weights are those of the first one."""
        home, first = self.folder / name, self.folder / "first"
        if home != first:
            shutil.copytree(first / "models", home / "models")
        words = ["run", "odc", "--all-benchmarks", "--suite", str(self.suite), "--out", str(home)]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        argv = [sys.executable, "-c", plant + MAIN, *words]
        done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=900)
        assert done.returncode == 0, done.stderr
        assert ("pretrain: started" in done.stderr) == (home == first)
        return home


# The mistake, and the models whose numbers show it, whatever else does.
PLANTED = {
    "resized_by_4_px_too_much": (CROP, {"random", "raw_pixels", "odc"}),
    "blue_before_red": (BGR, {"random", "odc"}),
    "std_left_out": (STD, {"random", "odc"}),
    "weights_not_loaded": (UNLOADED, {"odc"}),
    "a_layer_too_early": (LAYER, {"random", "raw_pixels", "odc"}),
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Zoo:
    """The suite with a baseline of what it says without a mistake."""
    made = Zoo(tmp_path_factory.mktemp("planted"), digits)
    assert gate(made.compute("first"), made.baseline, accept=True) == 0
    return made


@pytest.fixture(scope="module")
def homes(zoo: Zoo) -> Iterator[dict[str, Future[Path]]]:
    """The same without a mistake, and with each: two are computed at a time, a thread of torch each."""
    with ThreadPoolExecutor(2) as pool:
        plants = {"again": "", **{name: plant for name, (plant, _) in PLANTED.items()}}
        yield {name: pool.submit(zoo.compute, name, plant) for name, plant in plants.items()}


def judged(zoo: Zoo, home: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, object]]]:
    """The exit code of the gate and its verdicts."""
    capsys.readouterr()
    code = gate(home, zoo.baseline, form=Form.JSON)
    return code, json.loads(capsys.readouterr().out)["verdicts"]


def test_the_same_code_passes(
    zoo: Zoo, homes: dict[str, Future[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    code, verdicts = judged(zoo, homes["again"].result(), capsys)
    assert code == 0
    assert {one["state"] for one in verdicts} == {"pass"}


@pytest.mark.parametrize("name", PLANTED)
def test_a_mistake_fails_the_gate(
    zoo: Zoo, homes: dict[str, Future[Path]], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, verdicts = judged(zoo, homes[name].result(), capsys)
    assert code == 3
    failing = [one for one in verdicts if one["state"] in FAILING]
    assert {one["model"] for one in failing} >= PLANTED[name][1]
    assert {one["tolerance"] for one in failing} == {0.5}
