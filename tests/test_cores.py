"""How many cores may be used: what a container's quota, ZOO_CORES and other jobs leave."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pretrain.base import cores
from pretrain.base.faults import Fault
from pretrain.data import workers
from zoo.engines import slurm_task

SHOWN = "import torch; from pretrain.base import cores; print(cores.usable(), torch.get_num_threads())"
BOUND = f"from pretrain.base import cores; cores.bind(); {SHOWN}"
V1 = Path("/sys/fs/cgroup/cpu")


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (cores.VARIABLE, cores.THREADS, "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "1")  # so that what a test sets is undone
        monkeypatch.delenv(name)


def tree(folder: Path, listed: str, files: dict[str, str]) -> int | None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "process").write_text(listed)
    return cores.quota(folder / "process", folder)


@pytest.mark.parametrize(
    ("listed", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        (
            "0::/\n",
            {"cpu.max": "150000 100000\n"},
            2,
        ),  # one and a half: two threads, of which one often waits
        ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/pod/one\n", {"pod/cpu.max": "300000 100000", "pod/one/cpu.max": "max 100000"}, 3),
        ("0::/pod/one\n", {"pod/cpu.max": "300000 100000", "pod/one/cpu.max": "200000 100000"}, 2),
        ("0::/elsewhere\n", {"cpu.max": "200000 100000"}, 2),  # a host's path, seen from a container
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "50000"}, 5),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        (
            "4:cpu,cpuacct:/docker/a\n0::/\n",
            {
                "cpu,cpuacct/docker/a/cpu.cfs_quota_us": "100000",
                "cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000",
            },
            1,
        ),
        ("5:memory:/\n", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("", {}, None),
    ],
)
def test_a_quota_is_read_as_the_kernel_writes_it(
    listed: str, files: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    assert tree(tmp_path, listed, files) == expected


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert cores.quota(tmp_path / "missing", tmp_path) is None


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with the time of one core."""
    made = V1 / f"zoo-test-{os.getpid()}"
    try:
        made.mkdir()
        (made / "cpu.cfs_quota_us").write_text("100000")
    except OSError as error:
        with suppress(OSError):
            made.rmdir()
        pytest.skip(f"no control group of version 1 can be made here: {error}")
    yield made
    made.rmdir()


@pytest.mark.skipif(cores.runnable() < 2, reason="one core")
def test_in_a_real_control_group_torch_takes_the_quotas_threads(group: Path) -> None:
    entered = f"open('{group}/cgroup.procs', 'w').write('0'); {BOUND}"
    assert subprocess.check_output([sys.executable, "-c", entered], text=True).split() == ["1", "1"]


@pytest.mark.skipif(cores.runnable() < 2, reason="one core")
@pytest.mark.parametrize(("asked", "threads"), [("1", "1"), ("4096", str(cores.runnable()))])
def test_zoo_cores_bounds_threads_and_never_raises_them(asked: str, threads: str) -> None:
    environment = {**os.environ, cores.VARIABLE: asked}
    found = subprocess.check_output([sys.executable, "-c", BOUND], text=True, env=environment).split()
    assert found[0] == threads
    assert asked != "1" or found[1] == threads


def test_a_number_of_threads_that_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cores.VARIABLE, "1")
    monkeypatch.setenv(cores.THREADS, "7")
    cores.bind()
    assert os.environ[cores.THREADS] == "7"


def test_ranks_share_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "runnable", lambda: 64)
    monkeypatch.setenv(cores.VARIABLE, "8")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    cores.bind()
    assert os.environ[cores.THREADS] == "2"


def test_without_a_bound_nothing_is_set_or_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cores.VARIABLE, str(cores.runnable()))
    cores.bind()
    assert cores.THREADS not in os.environ
    assert cores.sentence() == ""


@pytest.mark.parametrize("words", ["two", "-1", "1.5", "0", "²"])
def test_another_word_is_refused(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cores.VARIABLE, words)
    with pytest.raises(Fault, match="ZOO_CORES is a number of cores from 1"):
        cores.usable()


@pytest.mark.parametrize(("ranks", "expected"), [("1", 11), ("4", 2), ("12", 1), ("64", 1)])
def test_workers_are_a_ranks_share_of_the_cores(
    ranks: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "runnable", lambda: 16)
    monkeypatch.setenv(cores.VARIABLE, "12")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert workers.count() == expected


def test_jobs_side_by_side_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "runnable", lambda: 112)
    assert cores.share(1, 1, processes=1) == {}
    assert cores.share(1, 8, processes=1) == {cores.VARIABLE: "14", cores.THREADS: "14"}
    assert cores.share(8, 8, processes=8) == {cores.VARIABLE: "112", cores.THREADS: "14"}
    assert cores.share(8, 8, processes=1) == {cores.VARIABLE: "112", cores.THREADS: "112"}
    monkeypatch.setenv(cores.THREADS, "4")
    assert cores.share(1, 8, processes=1) == {cores.VARIABLE: "14", cores.THREADS: "4"}


@pytest.mark.parametrize(("runnable", "each"), [(64, 31), (16, 15)])
def test_processes_of_a_node_share_its_cores_unless_each_has_its_own(
    runnable: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        "NTASKS": "4",
        "PROCID": "3",
        "LOCALID": "1",
        "CPUS_ON_NODE": "32",
        "STEP_TASKS_PER_NODE": "2(x2)",
    }
    monkeypatch.setattr(os, "environ", {f"SLURM_{name}": value for name, value in told.items()})
    monkeypatch.setattr(cores, "runnable", lambda: runnable)
    slurm_task._meet()
    assert workers.count() == each
