"""The worker's process: scores, faults, crashes and interrupts come back, and nothing of an earlier run
does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.contract.protocol import Protocol, catalogue
from benchmarks.mm.bridge import job as jobs
from benchmarks.mm.bridge import launch, pointer
from benchmarks.mm.bridge.job import Job
from benchmarks.mm.bridge.settings import schedule
from benchmarks.protocols.detection import protocol as detection
from benchmarks.protocols.segmentation import protocol as segmentation
from pretrain.base import process
from pretrain.base.faults import Fault
from pretrain.base.settings import changed

GOOD = "(work / 'scores.json').write_text('{\"images\": 3}')"
SAY = "(work / 'progress.jsonl').open('a').write(json.dumps(dict(done=2, total=5, eta=9.4, line='training')) + '\\n')"
FOREIGN = [protocol for protocol in catalogue("paper").values() if protocol.roots]


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
    monkeypatch.setattr(launch, "command", lambda job, path: [sys.executable, "-c", head + code, str(path)])


def silent(done: int, total: int, line: str) -> None:
    pass


@pytest.mark.parametrize(
    "settings", [p.settings for m in (detection, segmentation) for p in m.PAPER + m.DEMO + m.TINY]
)
def test_a_job_survives_its_file(job: Job, tmp_path: Path, settings: object) -> None:
    written = replace(job, settings=settings)  # type: ignore[arg-type]
    jobs.write(tmp_path / "job.json", written)
    assert jobs.read(tmp_path / "job.json") == written


def test_scores_and_progress_come_back(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, f"print('mm says much'); {SAY}; {GOOD}")
    told: list[tuple[int, int, str]] = []
    record = launch.run(job, lambda done, total, line: told.append((done, total, line)))
    assert record == {"images": 3}
    assert told == [(2, 5, "training, 9 s left")]
    assert (job.work.parent / "mm.log").read_text() == "mm says much\n"


@pytest.mark.parametrize("protocol", FOREIGN, ids=lambda p: p.name)
def test_scores_name_the_part_that_they_report(protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"metrics": {"AP": 1.0}, "images": 3, "counts": {}}
    monkeypatch.setattr(launch, "job", lambda task: None)
    monkeypatch.setattr(launch, "run", lambda job, report: record)
    task: Any = SimpleNamespace(protocol=protocol, report=silent)
    outcome = protocol.load()(task)
    assert [(s.name, s.value, s.n, s.split) for s in outcome.scores] == [("AP", 1.0, 3, protocol.report_on)]
    assert outcome.facts == {"images": 3, "counts": {}}


def test_a_fault_of_the_worker_is_raised_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(
        monkeypatch,
        '(work / \'fault.json\').write_text(\'{"reason": "nan", "message": "lower lr"}\'); sys.exit(1)',
    )
    with pytest.raises(Fault, match="lower lr") as error:
        launch.run(job, silent)
    assert error.value.reason == "nan"


def test_an_error_of_one_of_several_processes_is_shown_with_the_log(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"reason": "oom-gpu", "message": "in forward\nno memory", "crash": True}
    banner = "print('ChildFailedError ' * 99)"
    stand_in(monkeypatch, f"(work / 'fault.json').write_text({json.dumps(told)!r}); {banner}; sys.exit(1)")
    with pytest.raises(Fault, match=r"mm\.log, and the error is:\nin forward\nno memory$") as error:
        launch.run(job, silent)
    assert error.value.reason == "oom-gpu"


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
        launch.run(job, silent)
    assert error.value.reason == reason
    assert str(job.work.parent / "mm.log") in str(error.value)
    assert "begun" in str(error.value)


def test_answers_of_an_earlier_run_are_not_taken(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, GOOD)
    launch.run(job, silent)
    (job.work / "iter_5.pth").touch()
    stand_in(monkeypatch, "pass")
    with pytest.raises(Fault, match="exit code 0"):
        launch.run(job, silent)
    assert (job.work / "iter_5.pth").exists()  # the same job goes on from mm's checkpoint
    with pytest.raises(Fault, match="exit code 0"):
        launch.run(replace(job, sha256="other weights"), silent)
    assert not (job.work / "iter_5.pth").exists()  # another one does not


def saved(path: Path) -> Path:
    torch.save({"iter": torch.zeros(999)}, path)
    return path


@pytest.mark.parametrize("cut", [False, True])
def test_a_checkpoint_that_is_not_whole_is_not_resumed(job: Job, cut: bool) -> None:
    launch.fresh(job)
    pointer, newest = job.work / "last_checkpoint", job.work / "iter_6.pth"
    pointer.write_text(str(newest))
    if cut:
        newest.write_bytes(saved(job.work / "other").read_bytes()[:-99])
    launch.fresh(job)
    assert not pointer.exists()  # nothing to go on from: from the start
    older = saved(job.work / "iter_4.pth")
    for written in (str(newest), ""):
        pointer.write_text(written)
        launch.fresh(job)
        assert pointer.read_text() == str(older)
    saved(newest)
    pointer.write_text(str(older))
    launch.fresh(job)
    assert pointer.read_text() == str(older)  # a whole one stays as mmengine named it


def test_a_moved_job_goes_on_from_its_checkpoint_also_on_other_gpus(job: Job, tmp_path: Path) -> None:
    launch.fresh(job)
    torch.save({"epoch": 1}, job.work / "epoch_1.pth")
    (job.work / "last_checkpoint").write_text(str(job.work / "epoch_1.pth"))
    work = job.work.rename(tmp_path / "moved")
    moved = replace(job, work=work, weights=tmp_path / "w.safetensors", root=tmp_path / "data", gpus=4)
    launch.fresh(moved)
    assert pointer.target(work) == work / "epoch_1.pth"
    assert jobs.read(work / "job.json") == moved


def test_an_interrupt_ends_the_worker(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, f"(work / 'pid').write_text(str(os.getpid())); {SAY}; time.sleep(60)")

    def interrupt(done: int, total: int, line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch.run(job, interrupt)
    pid = int((job.work / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_does_not_leave_is_killed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(
        monkeypatch, f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SAY}; time.sleep(60)"
    )
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.2)
    started = time.monotonic()

    def interrupt(done: int, total: int, line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch.run(job, interrupt)
    assert time.monotonic() - started < 30


def test_several_gpus_start_mms_distributed_training(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    assert launch.command(job, path)[1:] == ["-m", "benchmarks.mm.worker.main", str(path)]
    several = launch.command(replace(job, gpus=4), path)
    assert several[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"]
    assert launch.environment(job)["CUDA_VISIBLE_DEVICES"] == ""


def test_the_worker_runs_in_its_folder_and_finds_everything(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"some/where{os.pathsep}/absolute")
    stand_in(
        monkeypatch, f"print(os.getcwd(), os.environ['PYTHONPATH'], os.environ['{process.PARENT}']); {GOOD}"
    )
    launch.run(job, silent)
    folder, paths, parent, born = (job.work.parent / "mm.log").read_text().split()
    root = Path(__file__).parents[1]
    assert folder == str(job.work)
    assert paths.split(os.pathsep) == [str(root), str(tmp_path / "some/where"), "/absolute"]
    assert parent == str(os.getpid())
    assert born == Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]


SLOWLY = """
path = work / 'progress.jsonl'
def line(done): return json.dumps(dict(done=done, total=5, eta=None, line='training')) + chr(10)
def until_told(n):
    while not (work / f'told{n}').exists(): time.sleep(0.01)
path.write_text(line(1) + line(2)[:9])
until_told(1); time.sleep(0.2)
first = len(line(1).encode())
with path.open('r+b') as file: file.write(bytes(first))  # what was read is not read again
with path.open('a') as file: file.write(line(2)[9:])
until_told(2)
"""


def test_a_half_written_progress_line_waits(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, f"{SLOWLY}{GOOD}")
    monkeypatch.setattr(launch, "POLL", 0.02)
    told: list[int] = []

    def report(done: int, total: int, line: str) -> None:
        told.append(done)
        (job.work / f"told{done}").touch()

    launch.run(job, report)
    assert told == [1, 2]


def test_another_batch_scales_rate_and_lengths() -> None:
    voc, coco = (p.settings for p in detection.PAPER)
    for gpus in (1, 2, 8, 16):  # the number of GPUs alone changes nothing but each one's share
        plan = schedule(voc, gpus)
        assert (plan.per_gpu * gpus, plan.lr, plan.length) == (16, 0.02, 24_000)
    half = schedule(changed(voc, batch_size=8), 4)  # MoCo's rule for four GPUs with two images each
    assert (half.per_gpu, half.lr, half.length, half.drops, half.warmup) == (
        2,
        0.01,
        48_000,
        (36_000, 44_000),
        200,
    )
    epochs = schedule(changed(coco, batch_size=32), 8)
    assert (epochs.lr, epochs.length, epochs.drops, epochs.warmup) == (0.04, 12, (8, 11), 500)
    aug = segmentation.PAPER[0].settings
    assert schedule(changed(aug, batch_size=32), 4).length == 10_000
    with pytest.raises(Fault, match="batch_size 16 does not divide over 3 GPUs"):
        schedule(voc, 3)
