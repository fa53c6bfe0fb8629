"""What sbatch refuses: what is submitted otherwise, what is waited for, and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from tests import planned
from tests.slurm.test_slurm_alone import carried_out, command
from zoo.engines import slurm_queue
from zoo.engines.engine import Allocation, Orders
from zoo.engines.slurm_queue import Shape, Task
from zoo.suites.suite import Suite

LIMIT = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize(
    "said", [f"AssocMaxSubmitJobLimit; {LIMIT}", LIMIT, "Invalid job array specification"]
)
def test_an_array_of_more_jobs_than_slurm_takes_goes_in_as_several(
    said: str, suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned.pretend(planned.jobs(suite, tmp_path / "home")["pretrain"], suite)
    refused = f'echo "sbatch: error: {said}" >&2; exit 1'
    line = f'cat >/dev/null; case "$*" in *array=0-0*) echo 7;; *) {refused};; esac'
    command(tmp_path / "bin", "sbatch", line, monkeypatch)
    command(tmp_path / "bin", "squeue", ":", monkeypatch)
    carried_out(suite, Orders(wait=False))
    folders = list((tmp_path / "home" / "slurm").iterdir())
    assert [len(slurm_queue.tasks(folder)) for folder in folders] == [1, 1, 1]


@pytest.mark.parametrize("name", ["QOSMaxWallDurationPerJobLimit", "QOSMaxGRESPerJob"])
def test_a_limit_that_no_waiting_helps_against_is_not_waited_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task("odc pretrain", str(tmp_path / "JOB.json"), str(tmp_path / "odc-pretrain.log"))
    line = f'echo "sbatch: error: {name}\nsbatch: error: {LIMIT}" >&2; exit 1'
    command(tmp_path / "bin", "sbatch", line, monkeypatch)
    with pytest.raises(Fault, match=f"SLURM refuses the jobs: .*{name}"):
        slurm_queue.submit(tmp_path / "home", [task], Shape(), Allocation(time="9-0"))


@pytest.mark.parametrize("word", ["--job-name=mine", "-Jmine", "--array=0-3%2", "-M", "--test-only"])
def test_options_that_jobs_are_found_again_by_are_refused_before_anything_is_submitted(
    word: str, suite: Suite
) -> None:
    with pytest.raises(Fault, match=f"--slurm-extra={word}: .* leave it out"):
        carried_out(suite, Orders(slurm=Allocation(extra=("--mem=4G", word))))
    assert not (suite.root / "home" / "slurm").exists()
