"""What of the SLURM engine needs no SLURM: its commands missing or refusing, two jobs with one key, when a
requeue is worth it, what is shown and cancelled, the logs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from tests import planned
from zoo import cli, logs
from zoo.engines import child, slurm, slurm_queue, slurm_task
from zoo.engines.engine import Allocation, Orders
from zoo.engines.slurm_queue import Seen, Shape, Task
from zoo.plan.job import Plan
from zoo.plan.planner import Planner
from zoo.show.progress import Display
from zoo.store import Store
from zoo.suites.suite import Suite


@pytest.fixture
def task(tmp_path: Path) -> Task:
    (tmp_path / "job").mkdir()
    return Task("odc pretrain", str(tmp_path / "job" / "JOB.json"), str(tmp_path / "odc-pretrain.log"))


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


class Moves:
    """In place of sleep: every time another thing happens to the log; Ctrl-C after the last."""

    def __init__(self, *moves: Callable[[], object]) -> None:
        self.left = list(moves)

    def __call__(self, seconds: float) -> None:
        if seconds:
            if not self.left:
                raise KeyboardInterrupt
            self.left.pop(0)()


def test_a_log_is_followed_into_the_run_that_begins_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Store(tmp_path).log("odc pretrain")
    log.parent.mkdir()
    log.write_text("the first run\n")
    again, anew = "again\n", "anew, and longer than all that was there\n"
    moves = Moves(lambda: log.write_text(again), log.unlink, lambda: log.write_text(anew))
    monkeypatch.setattr("time.sleep", moves)
    with pytest.raises(KeyboardInterrupt):
        logs.command("odc", "pretrain", out=tmp_path, follow=True)
    assert capsys.readouterr().out == "the first run\n" + again + anew


def queue(home: Path, tasks: list[Task], monkeypatch: pytest.MonkeyPatch, state: str = "PENDING") -> None:
    """An array in the queue, as squeue would print it."""
    place = home / "slurm" / "zoo-array"
    place.mkdir(parents=True)
    (place / slurm_queue.TASKS).write_text(json.dumps([asdict(task) for task in tasks]))
    rows = "".join(f"7_{i}|zoo-array|{i}|{state}||Priority\n" for i in range(len(tasks)))
    command(home.parent / "bin", "squeue", f"printf '{rows}'", monkeypatch)


def command(folder: Path, name: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of SLURM's that does what the line says."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{line}\n")
    (folder / name).chmod(0o755)
    if str(folder) not in os.environ["PATH"]:
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_status_shows_the_queue_before_the_first_model_is_there(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Fault, match="holds no model yet"):
        cli.status(out=tmp_path / "home")
    queue(tmp_path / "home", [task], monkeypatch)
    cli.status(out=tmp_path / "home")
    line = "odc pretrain: pending (Priority), 7_0\n"
    assert capsys.readouterr() == ("", line)
    cli.status(out=tmp_path / "home", json=True)
    assert capsys.readouterr() == ("[]\n", line)


def test_jobs_are_seen_in_hidden_partitions_and_whatever_squeue_shows_by_default(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(tmp_path / "home", [task], monkeypatch)
    monkeypatch.setenv("SQUEUE_PARTITION", "another")
    shown = (tmp_path / "bin" / "squeue").read_text().partition("\n")[2].strip()
    line = f'case " $* $SQUEUE_PARTITION" in *" -a "*" ") {shown};; esac'
    command(tmp_path / "bin", "squeue", line, monkeypatch)
    assert [one.task for one in slurm_queue.seen(tmp_path / "home").values()] == [task]


def test_nothing_to_cancel_is_said(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    queue(tmp_path / "home", [task], monkeypatch)
    cli.cancel("swav", out=tmp_path / "home")
    assert "nothing to cancel: no job of swav is in the queue of" in capsys.readouterr().err


def files(home: Path) -> dict[Path, bytes]:
    """All records and weights."""
    found = [*home.glob("**/result.json"), *home.glob("**/*.safetensors")]
    return {path: path.read_bytes() for path in found}


def carried_out(suite: Suite, orders: Orders) -> Plan:
    planner = Planner(planned.request(suite, suite.root / "home"))
    plan = planner.plan()
    return slurm.run(plan, planner, orders, Display(len(plan)))


def test_what_slurm_refuses_costs_nothing_that_was_finished(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned.finish(suite, tmp_path / "home")
    before = files(tmp_path / "home")
    assert len(before) == 5
    command(tmp_path / "bin", "sbatch", "echo invalid partition >&2; exit 1", monkeypatch)
    with pytest.raises(Fault, match="SLURM refuses the jobs: invalid partition"):
        carried_out(suite, Orders(again=True, slurm=Allocation(partition="gpus")))
    assert files(tmp_path / "home") == before


def test_a_job_that_is_cancelled_before_it_starts_fails_and_leaves_what_it_was_to_replace(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned.finish(suite, tmp_path / "home")
    before = files(tmp_path / "home")
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.0)
    command(tmp_path / "bin", "sbatch", "cat >/dev/null; echo 7", monkeypatch)
    name = "ls $HOME_OF_ZOO/slurm | head -n 1"
    monkeypatch.setenv("HOME_OF_ZOO", str(tmp_path / "home"))
    command(tmp_path / "bin", "squeue", f'echo "7_0|$({name})|0|CANCELLED||None"', monkeypatch)
    only = replace(suite, protocols=())
    (job,) = carried_out(only, Orders(again=True))
    assert (job.state, job.why and job.why.reason) == ("failed", "killed")
    assert files(tmp_path / "home") == before


def test_what_is_computed_again_is_cleared_once_where_the_task_first_starts(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned.finish(suite, tmp_path / "home")
    job = planned.jobs(suite, tmp_path / "home")["pretrain"]
    assert job.path is not None
    assert job.weights is not None
    assert job.record is not None
    file = child.write(job, suite, Store(tmp_path / "home"))
    task = Task(job.label, str(file), str(tmp_path / "log"), job.record.digest, again=True)
    queue(tmp_path / "home", [task], monkeypatch)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    found = list[bool]()

    def carried_out(path: Path, device: object) -> int:
        assert path.exists()
        found.append(job.weights is not None and job.weights.exists())
        planned.pretend(job, suite)
        return 0

    monkeypatch.setattr(child, "carried_out", carried_out)
    for _ in range(2):  # as it is requeued: there is a record by now
        assert slurm_task.run(tmp_path / "home" / "slurm" / "zoo-array") == 0
    assert found == [False]


def test_jobs_of_two_models_with_one_key_are_two_jobs(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (str(tmp_path / "results" / model / "JOB.json") for model in ("a", "b"))
    queue(tmp_path / "home", [Task("a knn", one, ""), Task("b knn", two, "")], monkeypatch)
    assert {path: seen.task.label for path, seen in slurm_queue.seen(tmp_path / "home").items()} == {
        one: "a knn",
        two: "b knn",
    }


def test_two_jobs_that_leave_one_record_are_submitted_one_after_the_other(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that need no seed, evaluated with the same one."""
    planner = Planner(planned.request(suite, tmp_path / "home"))
    planned.pretend(planned.jobs(suite, tmp_path / "home")["pretrain"], suite)
    jobs = {job.name: job for job in planner.plan()}
    first = replace(jobs["clustering"], seed=5)
    second = replace(first, trained=1)
    plan = Plan(planner.request, (first, second))
    monkeypatch.setattr(Planner, "judged_again", lambda self, job, plan: job)
    command(tmp_path / "bin", "sbatch", "cat >/dev/null; echo 7", monkeypatch)
    slurm.run(plan, planner, Orders(wait=False), Display(2))
    (array,) = (tmp_path / "home" / "slurm").iterdir()
    assert [task.label for task in slurm_queue.tasks(array)] == [first.label]
