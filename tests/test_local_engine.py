"""A process per job: what another command works on holds up nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pretrain.base.lease import lease
from tests import scenes
from tests.test_run import zoo
from zoo.plan.job import Job
from zoo.plan.planner import Planner
from zoo.request import resolve

pytestmark = pytest.mark.slow  # whole commands, a process each
BENCHMARKS = ["clustering", "imagenet_knn"]
SECONDS = 120


@pytest.mark.case(24)
def test_two_commands_never_wait_for_each_other(tmp_path: Path) -> None:
    scenes.folder(tmp_path / "imagenet", per_class=40)
    suite, home = tmp_path / "own.toml", tmp_path / "home"
    suite.write_text(
        'variant = "smoke"\nimages = "imagenet/train"\nbeside = []\n[data]\nimagenet = "imagenet"\n'
    )
    first = zoo("run", "raw_pixels", "--suite", str(suite), "--benchmarks", "none", home=home)
    assert first.returncode == 0, first.stderr
    asked = resolve(["raw_pixels"], BENCHMARKS, str(suite), home, [])
    held, other = [job for job in Planner(asked).plan() if job.protocol]
    assert held.path is not None
    assert other.path is not None
    words = ("run", "raw_pixels", "--suite", str(suite), "--out", str(home), "--engine", "local")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with lease(asked.store.lock(held.key)):
        command = subprocess.Popen(
            [sys.executable, "-m", "zoo", *words, "--benchmarks", ",".join(BENCHMARKS)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        until = time.monotonic() + SECONDS
        while not other.path.exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert other.path.exists(), f"{other.label} does not wait for whoever has {held.label}"
        assert not held.path.exists()
    _, printed = command.communicate(timeout=SECONDS)
    assert command.returncode == 0
    assert held.path.exists()
    assert printed.count(f"{held.label} waits: another command works on it") == 1


def test_jobs_side_by_side_give_the_numbers_of_one_after_the_other(tmp_path: Path) -> None:
    words = ("run", "random", "--suite", "smoke", "--benchmarks", ",".join(BENCHMARKS))
    alone = zoo(*words, home=tmp_path / "alone")
    beside = zoo(*words, "--engine", "local", "--jobs", "2", home=tmp_path / "beside")
    assert (alone.returncode, beside.returncode) == (0, 0), beside.stderr

    def done(home: Path) -> list[Job]:
        return [
            job for job in Planner(resolve(["random"], BENCHMARKS, "smoke", home, [])).plan() if job.protocol
        ]

    for one, other in zip(done(tmp_path / "alone"), done(tmp_path / "beside"), strict=True):
        assert one.record is not None
        assert other.record is not None
        assert [score.value for score in one.record.metrics] == [
            score.value for score in other.record.metrics
        ]
    order = [line for line in beside.stderr.splitlines() if "random" in line and "pretrain" not in line]
    assert ["started" in line for line in order[:3]] == [True, True, False], beside.stderr
