"""On a device of its own everything runs as on the CPU: to the bit, no tensors of two devices in one
operation, and no step that waits for the device.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pretrain.base.settings import changed
from pretrain.data import dataset
from pretrain.nets import checkpoint
from pretrain.train import loop
from tests import accelerator, scenes
from tests.train import tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(accelerator.missing()), reason=accelerator.missing() or "-"),
]
METHODS = [
    "byol", "coke", "deepcluster", "deepclusterv2", "dino", "invariance_propagation", "mocov2", "odc", "simclr",
    "supervised", "swav",
]  # fmt: skip
BENCHMARKS = ["voc07_svm", "imagenet_linear", "imagenet_1pct", "imagenet_knn", "clustering"]
EXACT = [
    "--set",
    "imagenet_linear.precision=fp32",
    "--set",
    "imagenet_1pct.precision=fp32",
]  # no autocast there
MIXED = """
import torch
from tests import accelerator
with accelerator.device() as there:
    x = torch.ones(3, device=there)
    print(float((x + torch.tensor(1.0)).sum()), sum(accelerator.WAITED.values()))
    try:
        torch.ones(3)[torch.zeros(1, dtype=torch.int64, device=there)]
    except RuntimeError as error:
        print(error)
    x + torch.ones(3)
"""


def elsewhere(*words: str) -> subprocess.CompletedProcess[str]:
    """A process with the device: torch has it once and for good."""
    argv = [sys.executable, *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(argv, capture_output=True, text=True, env=env, cwd=accelerator.ROOT)


def test_tensors_of_two_devices_are_refused_and_values_counted() -> None:
    done = elsewhere("-c", MIXED)
    assert done.stdout == "6.0 1\naten::index mixes devices: [(3,)] of the CPU among others, at elsewhere\n"
    assert "RuntimeError: aten::add mixes devices: [(3,)] of the CPU among others" in done.stderr


def test_every_method_trains_there_as_here_and_no_step_waits(tmp_path: Path) -> None:
    root = scenes.folder(tmp_path / "images", per_class=17)
    split = dataset.find("imagenet").split(root, "train")
    done = elsewhere("-m", "tests.accelerator", "train", str(root), str(tmp_path / "there"), *METHODS)
    assert done.returncode == 0, done.stderr[-3000:]
    threads, lines = torch.get_num_threads(), list[str]()
    torch.set_num_threads(1)
    try:
        for name in METHODS:
            recipe = changed(tiny(name), check_every=0)
            path = loop.fit(name, recipe, split, tmp_path / name, 0, torch.device("cpu"), lambda *_: None)
            lines.append(f"{name} {checkpoint.describe(path).sha256} {{}}")
    finally:
        torch.set_num_threads(threads)
    assert done.stdout.splitlines() == lines


def scores(home: Path) -> dict[str, list[tuple[str, float]]]:
    """By benchmark, of every record of a home."""
    records = [json.loads(path.read_text()) for path in sorted(home.glob("results/**/result.json"))]
    return {
        record["protocol"]["name"]: [(score["name"], score["value"]) for score in record["metrics"]]
        for record in records
    }


def test_every_kind_of_benchmark_of_our_own_has_the_same_numbers_there(tmp_path: Path) -> None:
    words = ["random", "--suite", "smoke", "--benchmarks", ",".join(BENCHMARKS), *EXACT, "--out"]
    there = elsewhere("-m", "tests.accelerator", "run", *words, str(tmp_path / "there"))
    assert there.returncode == 0, there.stderr[-3000:]
    here = elsewhere("-m", "zoo.run", *words, str(tmp_path / "here"))
    assert here.returncode == 0, here.stderr[-3000:]
    found = scores(tmp_path / "there")
    assert set(found) == set(BENCHMARKS)
    assert found == scores(tmp_path / "here")
