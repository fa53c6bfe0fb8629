"""The local engine gives what is computed together every GPU, once those that need one alone have ended."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contract.protocol import Protocol, catalogue
from pretrain.base import process
from tests.planned import request
from zoo.engines import child, local
from zoo.engines.engine import Orders
from zoo.plan.job import Job, Plan
from zoo.plan.planner import Planner
from zoo.request import Trial
from zoo.show.progress import Display
from zoo.suites.suite import Given, Suite

PROTOCOLS = catalogue("paper")
KNN = PROTOCOLS["imagenet_knn"]
ALONE, CLUSTERING = (
    replace(KNN, name="alone", together=False),
    replace(PROTOCOLS["clustering"], together=False),
)
BOXES, MASKS = PROTOCOLS["voc0712_detection"], PROTOCOLS["cityscapes_segmentation"]
MODEL = Given("mine", Path("backbone.safetensors"))


def job(protocol: Protocol | None) -> Job:
    return Job(MODEL, protocol, 0)


@pytest.mark.parametrize(("protocol", "leased"), [(ALONE, 1), (KNN, 3), (BOXES, 3), (MASKS, 3), (None, 3)])
def test_the_local_engine_leases_what_is_computed_together_every_gpu(
    protocol: Protocol | None, leased: int
) -> None:
    slots = ["2", "5", "7"]
    assert local.wanted(job(protocol), slots) == leased
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=3"]
    # mm's trainer starts its own
    assert local.launcher(job(protocol), slots[:leased]) == (launch if protocol in (None, KNN) else [])
    assert local.launcher(job(protocol), slots[:1]) == []
    assert local.wanted(job(protocol), ["", ""]) == (2 if protocol is None else 1)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The GPUs of every process that was started on two of them; each ends at once."""
    gpus = list[str]()

    def begin(argv: Sequence[str], log: Path, env: Mapping[str, str], **_: Any) -> process.Child:
        gpus.append(env["CUDA_VISIBLE_DEVICES"])
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        return process.Child(subprocess.Popen(["true"]), log, datetime.now(UTC))

    monkeypatch.setattr(process, "start", begin)
    monkeypatch.setattr(child, "write", lambda job, suite, store: job.folder / child.JOB)
    monkeypatch.setattr(Planner, "judged_again", lambda self, job, plan: job)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    return gpus


def test_jobs_for_every_gpu_wait_for_those_for_one(suite: Suite, tmp_path: Path, begun: list[str]) -> None:
    asked = replace(request(suite, tmp_path / "home"), trials=(Trial(MODEL, 0, (0,)),))
    order = (BOXES, ALONE, MASKS, CLUSTERING)
    jobs = [
        replace(job(p), folder=tmp_path / p.name, identity={"p": p.name, "data": {}}, note="not computed yet")
        for p in order
    ]
    local.run(Plan(asked, tuple(jobs)), Planner(asked), Orders(gpus=2), Display(len(jobs)))
    assert [sorted(gpus.split(",")) for gpus in begun] == [["0"], ["1"], ["0", "1"], ["0", "1"]]


def test_two_jobs_with_one_key_run_one_after_the_other(
    suite: Suite, tmp_path: Path, begun: list[str]
) -> None:
    """A file under two names: the same numbers, a record of each, one lease."""
    asked = replace(request(suite, tmp_path / "home"), trials=(Trial(MODEL, 0, (0,)),))
    one = replace(job(ALONE), identity={"p": "alone", "data": {}}, folder=tmp_path / "one")
    other = replace(one, entry=replace(MODEL, name="other"), folder=tmp_path / "other")
    local.run(Plan(asked, (one, other)), Planner(asked), Orders(gpus=2), Display(2))
    assert len(begun) == 2
