"""What of the SLURM engine needs no SLURM: its commands missing, when a requeue is worth it, the logs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from zoo import logs
from zoo.engines import slurm, slurm_queue, slurm_task
from zoo.engines.engine import Allocation
from zoo.engines.slurm_queue import Seen, Shape, Task
from zoo.store import Store


@pytest.fixture
def task(tmp_path: Path) -> Task:
    (tmp_path / "job").mkdir()
    return Task(
        "0123", "odc pretrain", str(tmp_path / "job" / "JOB.json"), str(tmp_path / "odc-pretrain.log")
    )


@pytest.fixture
def folder(tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An array of one task that has started without a state."""
    place = tmp_path / "array"
    place.mkdir()
    (place / slurm_queue.TASKS).write_text(json.dumps([asdict(task)]))
    (place / "0.state").write_text("")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    return place


def test_a_machine_without_slurm_is_one_sentence(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Fault, match="there is no sbatch on this machine") as caught:
        slurm_queue.submit(tmp_path / "home", [task], Shape(), Allocation())
    assert caught.value.reason == "dependency-missing"
    assert list((tmp_path / "home" / "slurm").iterdir()) == []


def test_a_home_that_never_used_slurm_does_not_ask_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm_queue.lines(tmp_path) == []


@pytest.mark.case(21)
def test_a_requeue_is_worth_it_only_where_a_later_state_was_saved(folder: Path, task: Task) -> None:
    assert slurm_task.went_on(folder) == 1
    state = Path(task.job).with_name("state.pt")
    state.write_text("epoch 1")
    assert slurm_task.went_on(folder) == 0
    (folder / "0.state").write_text(slurm_task.state(state.parent))  # requeued: this is what it finds
    assert slurm_task.went_on(folder) == 1
    os.utime(state, (1, 1))
    assert slurm_task.went_on(folder) == 0


def test_a_requeue_before_the_task_has_started_is_not_worth_it(folder: Path, task: Task) -> None:
    (folder / "0.state").unlink()
    Path(task.job).with_name("state.pt").write_text("epoch 1")
    assert slurm_task.went_on(folder) == 1


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        ("TIMEOUT", "timeout", "time limit"),
        ("PREEMPTED", "preempted", "was preempted"),
        ("OUT_OF_MEMORY", "oom-host", "ran out of memory"),
        ("NODE_FAIL", "killed", "lost its node"),
        ("FAILED", "worker-crash", r"ended as failed \(NonZeroExitCode\)"),
        ("PENDING", "killed", "left the queue, where it was last pending"),
    ],
)
@pytest.mark.case(22)
def test_why_a_job_left_no_record(task: Task, state: str, reason: str, words: str) -> None:
    fault = slurm.autopsy(Seen(task, "7_0", state, "NonZeroExitCode", "a"), Path(task.log))
    assert fault.reason == reason
    with pytest.raises(Fault, match=f"SLURM job 7_0 .*{words}.*{task.log}"):
        raise fault


def test_the_log_of_a_job_is_found_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Store(tmp_path).log("odc voc07_svm seed 1")
    log.parent.mkdir()
    log.write_text("one\ntwo\nthree\n")
    logs.command("odc", "voc07_svm", out=tmp_path, seed="1", lines=2)
    assert capsys.readouterr() == ("two\nthree\n", f"{log}\n")
    with pytest.raises(Fault, match=r"unknown log 'odc-voc07_svm'.*did you mean odc-voc07_svm-seed-1"):
        logs.find(Store(tmp_path), "odc", "voc07_svm")


def test_without_logs_the_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="the inline engine prints on the terminal"):
        logs.find(Store(tmp_path), "odc", "pretrain")
