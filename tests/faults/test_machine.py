"""What a machine lacks: ports, GPUs, memory, a network, a clock that goes on; said, or done without."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from pretrain.base import process
from pretrain.base.faults import Fault
from pretrain.base.lease import lease
from tests import planned
from tests.faults import commands
from zoo.engines import local
from zoo.engines.engine import Orders
from zoo.jobs.record import explained, recording
from zoo.plan.job import Job
from zoo.plan.planner import Planner
from zoo.show.progress import Display
from zoo.stopping import one_sentence
from zoo.suites.suite import Given, Suite

PORTS = range(29500, 29510)  # the first is torch's own default
NETWORK_FOLDER = "ZOO_TEST_NETWORK_FOLDER"  # environment: a folder on a network file system


@pytest.fixture
def taken() -> Iterator[None]:
    """Somebody else listens at torch's default port and at those after it."""
    with ExitStack() as held:
        for port in PORTS:
            other = held.enter_context(socket.socket())
            try:
                other.bind(("", port))
                other.listen()
            except OSError:  # taken already: all the better
                continue
        yield


@pytest.mark.slow
@pytest.mark.case(30)
def test_processes_meet_where_the_usual_ports_are_taken(taken: None, tmp_path: Path) -> None:
    asked = commands.argv(commands.suite(tmp_path), "run", "odc", "--benchmarks", "none")
    pretraining = Job(Given("mine", tmp_path / "backbone.safetensors"), None, 0)
    done = subprocess.run(
        [asked[0], *local.launcher(pretraining, ["0", "1"]), *asked[1:]],
        capture_output=True,
        text=True,
        env=commands.ENVIRONMENT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "odc pretrain: done" in done.stderr


@pytest.mark.case(31)
@pytest.mark.parametrize(
    ("visible", "asked", "slots"),
    [
        ("", 0, [""]),
        ("", 2, ["0", "1"]),
        ("2,5,7", 2, ["2", "5"]),
        ("GPU-8932f937,MIG-1f2e", 2, ["GPU-8932f937", "MIG-1f2e"]),
        ("3", 2, ["3"]),
    ],
)
def test_gpus_are_leased_by_the_names_of_the_environment(
    visible: str, asked: int, slots: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert local.gpu_slots(asked) == slots


@pytest.mark.slow
@pytest.mark.case(31)
def test_more_gpus_than_there_are_is_exit_4(tmp_path: Path) -> None:
    done = commands.zoo(
        commands.suite(tmp_path), "run", "odc", "--all-benchmarks", "--engine", "local", "--gpus", "99"
    )
    assert done.returncode == 4, done.stderr
    assert "--gpus 99 asked for, " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.case(33)
def test_without_a_network_everything_works(tmp_path: Path) -> None:
    alone = ["unshare", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        pytest.skip("this user cannot take the network from a process (unshare --net)")
    suite = commands.suite(tmp_path, ["imagenet_knn"])
    done = commands.zoo(suite, "run", "odc", "--all-benchmarks", first=alone)
    assert done.returncode == 0, done.stderr
    assert "2 done" in done.stderr


@pytest.mark.slow
@pytest.mark.case(18)
def test_memory_that_the_machine_does_not_have_is_called_so(tmp_path: Path) -> None:
    """torch says it in a RuntimeError, Python in a MemoryError."""
    code = (
        "import resource, sys, torch\nfrom pathlib import Path\nfrom zoo.jobs.record import explained\n"
        "resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))\n"
        "for take in (lambda: torch.empty(64 << 30), lambda: bytearray(64 << 30)):\n"
        "    try: take()\n"
        "    except Exception as error: fault = explained(error, Path(sys.argv[1])); print(fault.reason, fault)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("oom-host the machine ran out of memory"), done.stderr
    assert "tried to allocate 274877906944 bytes" in first
    assert second.startswith("oom-host the machine ran out of memory")


@pytest.mark.case(17)
def test_the_error_that_torch_raises_for_a_full_gpu_is_called_so_on_every_machine(tmp_path: Path) -> None:
    fault = explained(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), tmp_path)
    assert fault.reason == "oom-gpu"
    assert "Tried to allocate 9 GiB" in str(fault)
    assert "use a GPU with more, or a smaller batch" in str(fault)


@pytest.mark.case(17)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU whose memory could run out")
def test_memory_that_the_gpu_does_not_have_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 45, dtype=torch.uint8, device="cuda")
    fault = explained(raised.value, tmp_path)
    assert fault.reason == "oom-gpu"
    assert "use a GPU with more, or a smaller batch" in str(fault)


@pytest.mark.case(41)
def test_locks_hold_on_a_network_file_system() -> None:
    place = os.environ.get(NETWORK_FOLDER)
    if not place:
        pytest.skip(f"no network file system here; set {NETWORK_FOLDER} to a folder on one")
    path = Path(place) / f"{socket.gethostname()}-{os.getpid()}.lock"
    with lease(path, wait=False), pytest.raises(Fault, match="is working on it"), lease(path, wait=False):
        pass
    path.unlink(missing_ok=True)


@pytest.mark.case(41)
def test_a_file_system_without_locks_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(handle: int, kind: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", lacking)
    said, path = r"this file system has no locks .*mount it with them", tmp_path / "locks" / "job.lock"
    with pytest.raises(Fault, match=said), lease(path):
        pass


class Ahead(datetime):
    """A clock that was an hour ahead, and has been set right since."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.slow
@pytest.mark.case(29)
def test_a_clock_that_jumps_back_while_a_job_runs_costs_no_record(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job's process sees the right time, the one that has started it an hour more."""
    monkeypatch.setattr(process, "datetime", Ahead)
    request = planned.request(suite, tmp_path / "home", suite.entry("random"))
    planner = Planner(request)
    plan = planner.plan()
    ended = local.run(plan, planner, Orders(), Display(len(plan)))
    assert [job.state for job in ended] == ["done"] * 4, [str(job.why) for job in ended]
    records = [json.loads(path.read_text()) for path in (tmp_path / "home").rglob("result.json")]
    assert [record["status"] for record in records] == ["ok"] * 4


@pytest.mark.case(29)
def test_times_are_in_one_time_zone(suite: Suite, tmp_path: Path) -> None:
    planned.finish(suite, tmp_path)
    job = planned.jobs(suite, tmp_path / "carried out")["pretrain"]
    with recording(job, suite.name):
        pass
    assert job.path is not None
    assert job.path.exists()
    for path in tmp_path.rglob("result.json"):
        assert all(text.endswith("+00:00") for text in json.loads(path.read_text())["time"].values())


NO_MORE = {
    "thread": RuntimeError("can't start new thread"),
    "fork": BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)),
}


@pytest.mark.parametrize("error", NO_MORE.values(), ids=NO_MORE)
@pytest.mark.case(18)
def test_a_limit_of_processes_is_one_sentence_in_a_job_and_outside(
    error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = explained(error, tmp_path)
    assert fault.reason == "worker-crash"
    assert "ulimit -u" in str(fault)
    assert not list(tmp_path.iterdir()), "no traceback is kept"
    with pytest.raises(SystemExit, match="2"), one_sentence():
        raise error
    assert capsys.readouterr().err == f"error: {fault}\n"
    other = RuntimeError("another")
    with pytest.raises(RuntimeError, match="another"), one_sentence():
        raise other
