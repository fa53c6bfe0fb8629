"""Benchmarks of which every process that torchrun starts computes its part, against one process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.contract.protocol import catalogue
from benchmarks.contract.result import read
from tests import planned
from zoo.suites.suite import Suite

FOLDERS = {
    "imagenet": "imagenet", "voc07": "VOCdevkit", "inat18": "inat18", "places205": "places205",
}  # fmt: skip
OWN = (
    "voc07_svm", "voc07_low_shot", "imagenet_linear", "imagenet_transfer", "inat18_linear", "places205_linear",
    "imagenet_1pct", "imagenet_10pct", "imagenet_knn", "clustering",
)  # fmt: skip
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def test_trainings_come_first_then_what_is_computed_together(suite: Suite, tmp_path: Path) -> None:
    plan = planned.plan(suite, tmp_path)
    protocols = [job.protocol for job in plan if job.protocol is not None]
    assert all(p.together for p in protocols)
    one = [
        replace(job, protocol=job.protocol and replace(job.protocol, together=job.name == "imagenet_knn"))
        for job in plan.jobs[::-1]
    ]
    ordered = replace(plan, jobs=tuple(one)).trainings_first()
    assert [job.protocol is None for job in ordered] == [True, *[False] * len(protocols)]
    assert ordered[1].name == "imagenet_knn"


def test_only_foreign_trainers_start_processes_of_their_own() -> None:
    for protocol in catalogue("paper").values():
        assert protocol.together is not bool(protocol.roots), protocol.name


def scores(root: Path, launcher: tuple[str, ...]) -> dict[str, object]:
    """Key and scores of every own benchmark of an untrained network."""
    out = root / str(len(launcher))
    argv = [*launcher, "-m", "zoo.run", "random", "--suite", str(root / "own.toml"), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *argv, "--all-benchmarks"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    # k-NN and clustering share the averages of train and val; both SVMs the maps of their two splits.
    assert len(list(out.glob("features/*/*/manifest.json"))) == 4
    records = [read(path) for path in sorted(out.glob("results/*/*/*/result.json"))]
    assert not list(out.glob("results/*/*/*/work"))
    return {str(r.protocol["name"]): (r.key, r.metrics) for r in records}


@pytest.mark.slow
def test_two_processes_record_what_one_records(digits: Path, tmp_path: Path) -> None:
    data = "".join(f"{name} = '{digits / folder}'\n" for name, folder in FOLDERS.items())
    assert set(OWN) == {p.name for p in catalogue("smoke").values() if not p.roots}
    (tmp_path / "own.toml").write_text(
        f"variant = 'smoke'\nprotocols = {[*OWN]}\nbeside = []\n[data]\n{data}[imagenet_knn]\nks = [1, 5]\n"
        "[imagenet_1pct]\nhonest = true\n"
    )
    alone = scores(tmp_path, ())
    assert set(alone) == set(OWN)
    assert scores(tmp_path, LAUNCHER) == alone
