"""The worker's process: scores, faults, crashes and interrupts come back, and nothing of an earlier run does."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.mm import bridge
from benchmarks.mm import job as jobs
from benchmarks.mm.job import Job
from benchmarks.protocols import detection, segmentation
from pretrain.faults import Fault

GOOD = "(work / 'scores.json').write_text('{\"images\": 3}')"
SAY = "(work / 'progress.jsonl').open('a').write(json.dumps(dict(done=2, total=5, eta=9.4, line='training')) + '\\n')"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(
        weights=tmp_path / "backbone.safetensors",
        sha256="abc",
        root=tmp_path / "data",
        work=tmp_path / "job" / "work",
        seed=3,
        gpus=0,
        settings=detection.PAPER[0].settings,
    )


def stand_in(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """A ten-line script in the worker's place; `work` is the job's folder."""
    head = "import json, os, sys, time; from pathlib import Path; work = Path(sys.argv[1]).parent\n"
    monkeypatch.setattr(bridge, "_command", lambda job, path: [sys.executable, "-c", head + code, str(path)])


def silent(done: int, total: int, line: str) -> None:
    pass


@pytest.mark.parametrize("settings", [p.settings for m in (detection, segmentation) for p in m.PAPER + m.DEMO])
def test_a_job_survives_its_file(job: Job, tmp_path: Path, settings: object) -> None:
    written = replace(job, settings=settings)  # type: ignore[arg-type]
    jobs.write(tmp_path / "job.json", written)
    assert jobs.read(tmp_path / "job.json") == written


def test_scores_and_progress_come_back(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, f"print('mm says much'); {SAY}; {GOOD}")
    told: list[tuple[int, int, str]] = []
    record = bridge.run(job, lambda done, total, line: told.append((done, total, line)))
    assert record == {"images": 3}
    assert told == [(2, 5, "training, 9 s left")]
    assert (job.work.parent / "mm.log").read_text() == "mm says much\n"


def test_a_fault_of_the_worker_is_raised_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(
        monkeypatch, '(work / \'fault.json\').write_text(\'{"reason": "nan", "message": "lower lr"}\'); sys.exit(1)'
    )
    with pytest.raises(Fault, match="lower lr") as error:
        bridge.run(job, silent)
    assert error.value.reason == "nan"


@pytest.mark.parametrize(
    ("code", "reason", "how"),
    [
        ("print('x' * 9); raise ValueError('what happened')", "worker-crash", "exit code 1"),
        ("os.kill(os.getpid(), 9)", "killed", "signal 9"),
        ("print('torch.OutOfMemoryError: CUDA out of memory'); sys.exit(1)", "oom-gpu", "exit code 1"),
        ("pass", "worker-crash", "exit code 0"),
    ],
)
def test_a_crash_shows_the_end_of_the_log(
    job: Job, monkeypatch: pytest.MonkeyPatch, code: str, reason: str, how: str
) -> None:
    stand_in(monkeypatch, f"print('begun', flush=True); {code}")
    with pytest.raises(Fault, match=how) as error:
        bridge.run(job, silent)
    assert error.value.reason == reason
    assert str(job.work.parent / "mm.log") in str(error.value)
    assert "begun" in str(error.value)


def test_answers_of_an_earlier_run_are_not_taken(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, GOOD)
    bridge.run(job, silent)
    (job.work / "iter_5.pth").touch()
    stand_in(monkeypatch, "pass")
    with pytest.raises(Fault, match="exit code 0"):
        bridge.run(job, silent)
    assert (job.work / "iter_5.pth").exists()  # the same job goes on from mm's checkpoint
    with pytest.raises(Fault, match="exit code 0"):
        bridge.run(replace(job, sha256="other weights"), silent)
    assert not (job.work / "iter_5.pth").exists()  # another one does not


def test_an_interrupt_ends_the_worker(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, f"(work / 'pid').write_text(str(os.getpid())); {SAY}; time.sleep(60)")

    def interrupt(done: int, total: int, line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bridge.run(job, interrupt)
    pid = int((job.work / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_does_not_leave_is_killed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SAY}; time.sleep(60)")
    monkeypatch.setattr(bridge, "GRACE", 0.2)
    started = time.monotonic()

    def interrupt(done: int, total: int, line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bridge.run(job, interrupt)
    assert time.monotonic() - started < 30


def test_several_gpus_start_mms_distributed_training(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    assert bridge._command(job, path)[1:] == ["-m", "benchmarks.mm.worker", str(path)]
    several = bridge._command(replace(job, gpus=4), path)
    assert several[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"]
    assert bridge._environment(job)["CUDA_VISIBLE_DEVICES"] == ""


def test_a_half_written_progress_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    path.write_text(json.dumps({"done": 1}) + '\n{"do')
    assert list(bridge._lines(path)) == [{"done": 1}]
    assert list(bridge._lines(tmp_path / "absent")) == []
