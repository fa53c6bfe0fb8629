"""Jobs of a plan on a real SLURM of two nodes, started on this machine by cluster.sh. Skipped without it."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from pretrain.base.lease import lease
from tests import mounted, planned
from zoo.engines import slurm, slurm_queue
from zoo.engines.engine import Allocation, Orders
from zoo.plan.job import Plan
from zoo.plan.planner import Planner
from zoo.show.progress import Display
from zoo.suites.suite import Suite

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("cluster.sh")
DAEMONS = ("slurmctld", "slurmd", "munged")
HELD = Allocation(extra=("--hold",))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running cluster, which SLURM_CONF names."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    lacking = [name for name in DAEMONS if shutil.which(name, path=path) is None]
    if lacking:
        pytest.skip(f"no {', '.join(lacking)} on this machine; apt-get install slurm-wlm munge")
    folder = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr(slurm, "POLL_SECONDS", 0.5)
        try:
            subprocess.run([SCRIPT, "start", folder], check=True)
            yield folder
        finally:
            subprocess.run([SCRIPT, "stop", folder], check=False)


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """A thread for a command; what it waits for is cancelled at the end, however the test ends."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
        subprocess.run(["scancel", "--user", getpass.getuser()], check=False)


def carried_out(
    suite: Suite, asked: Allocation, wait: bool = True, seeds: tuple[int, ...] = (0,), again: bool = False
) -> Plan:
    """The plan of ODC, from a home beside its images, as it ended."""
    planner = Planner(planned.request(suite, suite.root / "home", seeds=seeds))
    plan = planner.plan()
    return slurm.run(plan, planner, Orders(again=again, slurm=asked, wait=wait), Display(len(plan)))


def only_pretraining(suite: Suite, **fields: object) -> Suite:
    return replace(planned.changed(suite, "odc", **fields), protocols=())


def arrays(suite: Suite) -> list[str]:
    """Names of the arrays that the home has submitted."""
    return sorted(path.name for path in (suite.root / "home" / "slurm").glob("*"))


def queued(suite: Suite) -> list[slurm_queue.Seen]:
    """The jobs that wait or run."""
    return [one for one in slurm_queue.seen(suite.root / "home").values() if one.active]


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Waits for something, and fails where it does not come."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.2)


def log(suite: Suite) -> str:
    return (suite.root / "home/logs/odc-pretrain.log").read_text()


def test_pretraining_on_two_nodes_then_its_benchmarks_as_one_array(cluster: Path, suite: Suite) -> None:
    plan = carried_out(suite, Allocation(partition="gpu", nodes=2))
    assert [job.state for job in plan] == ["done"] * 4, [str(job.why) for job in plan]
    benchmarks = [name for name in arrays(suite) if "pretrain" not in name]
    assert len(benchmarks) == 1
    assert len(slurm_queue.tasks(suite.root / "home" / "slurm" / benchmarks[0])) == 3
    assert log(suite).count("SLURM job") == 2  # a process on each node
    assert plan.jobs[0].record is not None
    assert [job.state for job in carried_out(suite, Allocation())] == ["done"] * 4
    assert len(arrays(suite)) == 2  # the same command again submits nothing


def test_processes_meet_where_jobs_begin_without_an_environment(
    cluster: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    (job,) = carried_out(only_pretraining(suite), Allocation(nodes=2))
    assert job.state == "done", job.why


def test_what_is_done_is_computed_again_on_two_nodes(cluster: Path, suite: Suite) -> None:
    mine = only_pretraining(suite)
    asked = Allocation(nodes=2)
    (first,) = carried_out(mine, asked)
    (second,) = carried_out(mine, asked, again=True)
    assert (first.state, second.state) == ("done", "done"), second.why
    assert first.record is not None
    assert second.record is not None
    assert first.record.digest != second.record.digest
    assert first.record.facts["weights"] == second.record.facts["weights"]


def test_a_wrong_partition_is_one_sentence_and_leaves_nothing(cluster: Path, suite: Suite) -> None:
    with pytest.raises(Fault, match=r"SLURM refuses the jobs: .*invalid partition.*--slurm") as caught:
        carried_out(suite, Allocation(partition="gpus"))
    assert caught.value.reason == "bad-config"
    assert arrays(suite) == []


def test_a_second_command_takes_up_what_is_queued_and_a_cancelled_pretraining_frees_its_benchmarks(
    cluster: Path, suite: Suite, background: ThreadPoolExecutor
) -> None:
    carried_out(suite, HELD, wait=False)
    (held,) = queued(suite)
    (line,) = slurm_queue.lines(suite.root / "home")
    assert line.startswith("odc pretrain: pending (JobHeldUser)")
    assert slurm_queue.cancel(suite.root / "home", "swav") == []
    running = background.submit(carried_out, suite, HELD)
    time.sleep(2)
    assert [one.id for one in queued(suite)] == [held.id]
    assert [one.id for one in slurm_queue.cancel(suite.root / "home", "odc", "pretrain")] == [held.id]
    plan = running.result(30)
    assert [job.state for job in plan] == ["failed"] * 4
    assert all(job.why and job.why.reason == "killed" for job in plan)
    assert "pretraining failed: SLURM job" in str(plan.jobs[1].why)
    assert "was cancelled" in str(plan.jobs[1].why)


def test_no_more_jobs_than_the_limit_are_queued(cluster: Path, suite: Suite) -> None:
    asked = replace(HELD, limit=2)
    running = Planner(planned.request(suite, suite.root / "home", seeds=(0, 1, 2)))
    plan = running.plan()
    slurm.run(plan, running, Orders(slurm=asked, wait=False), Display(len(plan)))
    assert sorted(one.task.label for one in queued(suite)) == ["odc pretrain", "odc pretrain seed 1"]
    assert len(arrays(suite)) == 1
    slurm_queue.cancel(suite.root / "home")


def test_a_fault_in_a_job_is_its_record_and_its_benchmarks_share_it(cluster: Path, suite: Suite) -> None:
    carried_out(suite, HELD, wait=False)
    (held,) = queued(suite)
    (suite.root / "images").rename(suite.root / "elsewhere")
    shutil.rmtree(suite.root / "home" / "fingerprints", ignore_errors=True)
    subprocess.run(["scontrol", "release", held.id.split("_")[0]], check=True)
    record = Path(held.task.job).with_name("result.json")
    until(record.exists)
    until(lambda: not queued(suite))
    (suite.root / "elsewhere").rename(suite.root / "images")
    (job,) = [job for job in planned.plan(suite, suite.root / "home") if job.protocol is None]
    assert job.state == "failed"
    assert job.why is not None
    assert job.why.reason == "data-missing"


@pytest.mark.case(21)
def test_the_notice_before_the_time_limit_requeues_and_the_weights_are_the_same(
    cluster: Path, suite: Suite, background: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """The signal is the one that SLURM sends before the limit; the other node goes on."""
    mine = only_pretraining(suite, epochs=60)
    running = background.submit(carried_out, mine, Allocation())
    until(lambda: list((suite.root / "home").glob("models/*/state.pt")))
    (one,) = queued(suite)
    subprocess.run(["scontrol", "update", f"nodename={one.nodes}", "state=drain", "reason=test"], check=True)
    try:
        subprocess.run(["scancel", "--batch", "--signal=USR1", one.id], check=True)
        (job,) = running.result(90)
    finally:
        subprocess.run(["scontrol", "update", f"nodename={one.nodes}", "state=resume"], check=True)
    assert job.state == "done", job.why
    assert log(suite).count("SLURM job") == 2
    assert "REQUEUE" in log(suite)
    other = planned.request(mine, tmp_path / "undisturbed")
    plan = Planner(other).plan()
    (whole,) = slurm.run(plan, Planner(other), Orders(), Display(1))
    assert job.record is not None
    assert whole.record is not None
    assert job.record.facts["weights"] == whole.record.facts["weights"]


@pytest.mark.case(22)
def test_a_lost_node_is_left_for_another_and_nothing_is_done_twice(
    cluster: Path, suite: Suite, background: ThreadPoolExecutor
) -> None:
    """The daemon is gone, the job still runs: what is requeued waits for it."""
    mine = only_pretraining(suite)
    (planned_job,) = planned.plan(mine, suite.root / "home")
    store = planned.request(mine, suite.root / "home").store
    with lease(store.lock(planned_job.key)):
        running: Future[Plan] = background.submit(carried_out, mine, Allocation())
        until(lambda: (suite.root / "home/logs/odc-pretrain.log").exists() and "waiting for" in log(suite))
        (one,) = queued(mine)
        os.kill(int((cluster / f"slurmd.{one.nodes}.pid").read_text()), signal.SIGKILL)
        try:
            until(lambda: log(suite).count("waiting for") == 2, seconds=120)
            (now,) = queued(mine)
        finally:
            subprocess.run([SCRIPT, "node", cluster, one.nodes], check=True)
    (job,) = running.result(60)
    assert job.state == "done", job.why
    assert {one.nodes, now.nodes} == {"a", "b"}
    assert one.id == now.id


def test_a_job_without_progress_ends_at_its_time_limit(cluster: Path, suite: Suite) -> None:
    mine = only_pretraining(suite)
    (waiting,) = planned.plan(mine, suite.root / "home")
    with lease(planned.request(mine, suite.root / "home").store.lock(waiting.key)):
        (job,) = carried_out(mine, Allocation(time="1", notice=30))
    assert job.state == "failed"
    assert job.why is not None
    assert job.why.reason == "timeout"
    assert "was ended at its time limit; give it more with --slurm-time" in str(job.why)


@pytest.mark.case(22)
def test_a_controller_that_is_away_is_waited_for(
    cluster: Path, suite: Suite, background: ThreadPoolExecutor
) -> None:
    running = background.submit(carried_out, only_pretraining(suite), Allocation(extra=("--begin=now+5",)))
    until(lambda: queued(suite))
    subprocess.run(["scontrol", "shutdown", "slurmctld"], check=True)
    with pytest.raises(Fault, match="SLURM does not answer for now") as caught:
        slurm_queue.seen(suite.root / "home")
    assert caught.value.reason == "upstream"
    path = f"{os.environ['PATH']}:/usr/sbin"
    subprocess.run([str(shutil.which("slurmctld", path=path))], check=True)
    (job,) = running.result(120)
    assert job.state == "done", job.why


@pytest.mark.case(22)
def test_arrays_that_slurm_knows_no_more_are_forgotten(cluster: Path, suite: Suite) -> None:
    carried_out(suite, HELD, wait=False)
    folder = suite.root / "home" / "slurm"
    for name in ("old", "young"):
        shutil.copytree(folder / arrays(suite)[-1], folder / name, symlinks=True)
    os.utime(folder / "old", (1, 1))
    assert len(queued(suite)) == 1
    assert [name for name in arrays(suite) if not name.startswith("zoo-")] == ["young"]
    slurm_queue.cancel(suite.root / "home")


@pytest.mark.case(13)
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_disk_too_small_for_a_state_is_said_and_it_goes_on(cluster: Path, suite: Suite, nodes: int) -> None:
    with mounted.small(suite.root / "home", 2 << 20) as home:
        plan = carried_out(only_pretraining(suite), Allocation(nodes=nodes))
        assert plan.code == 6, str(plan.jobs[0].why)
        assert re.search(r"no space to write .*state\.pt .*run again$", str(plan.jobs[0].why))
        subprocess.run(["mount", "-o", "remount,size=64M", str(home)], check=True)
        plan = carried_out(only_pretraining(suite), Allocation(nodes=nodes))
        assert plan.jobs[0].state == "done", str(plan.jobs[0].why)


@pytest.mark.case(13)
def test_a_disk_without_room_for_a_record_is_told_by_the_exit_code(
    cluster: Path, suite: Suite, background: ThreadPoolExecutor
) -> None:
    mine = only_pretraining(suite)
    with mounted.small(suite.root / "home", 8 << 20) as home:
        running = background.submit(carried_out, mine, HELD)
        until(lambda: queued(suite))
        filled = subprocess.run(["dd", "if=/dev/zero", f"of={home / 'others'}", "bs=4k"], capture_output=True)
        assert b"No space left" in filled.stderr
        subprocess.run(["scontrol", "release", queued(suite)[0].id.split("_")[0]], check=True)
        plan = running.result(120)
        assert plan.code == 6, str(plan.jobs[0].why)
        assert "found no space on the disk (free some and run again)" in str(plan.jobs[0].why)
