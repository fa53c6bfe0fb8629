"""One task of an array, on the nodes that SLURM gave it.

`run FOLDER` carries out the job of $SLURM_ARRAY_TASK_ID, in as many processes as srun has started;
`went-on FOLDER` succeeds where the job has left a later state than it found: it is then worth a requeue.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from pretrain.base import cores
from zoo.engines import slurm_queue

STATES = ("*.pt", "*.pth")  # what pretraining and foreign trainers go on from


def run(folder: Path) -> int:
    """The exit code of the job; 0 also where another process has done it in the meantime.

    A node that is lost to the scheduler may still compute: what was requeued then waits for it, all processes
    together, and finds its record.
    """
    from benchmarks.contract.result import NAME, readable
    from pretrain.base import dist
    from zoo.engines import child, together

    task = mine(folder)
    _meet()
    job, _, store = child.read(Path(task.job))
    with child.group() as device, together.lease(store.lock(job.key), wait=True, waiting=_waiting):
        left = readable(Path(task.job).with_name(NAME))
        if dist.agreed(left is not None and left.status == "ok" and left.digest != task.before):
            print(f"{job.label}: done by another process")
            return 0
        if dist.rank() == 0:
            if task.again and not _stamp(folder).exists():  # a requeued one goes on
                child.clear(job)
            _stamp(folder).write_text(state(Path(task.job).parent))
        dist.barrier()  # what is cleared is gone before anyone looks for a state to go on from
        print(f"{job.label}: SLURM job {os.environ.get('SLURM_JOB_ID')} on {os.uname().nodename}", flush=True)
        return child.carried_out(Path(task.job), device)


def _waiting(holder: str) -> None:
    print(f"waiting for {holder}, which works on this job", flush=True)


def _meet() -> None:
    """Sets what torchrun would set, where there are several processes."""
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        named = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": "SLURM_NTASKS"}
        os.environ.update({theirs: os.environ[ours] for theirs, ours in named.items()})
        here = int(re.split(r"\D", os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1"))[0])
        # srun may have given each process cores of its own; where not, they share those that all may run on.
        if cores.runnable() > int(os.environ.get("SLURM_CPUS_ON_NODE", "0")) // here:
            os.environ["LOCAL_WORLD_SIZE"] = str(here)


def went_on(folder: Path) -> int:
    """0 where there is a later state than when the task was started; 1 where a requeue would gain nothing."""
    now, found = state(Path(mine(folder).job).parent), _stamp(folder)
    return 0 if now and found.exists() and now != found.read_text() else 1


def mine(folder: Path) -> slurm_queue.Task:
    """The task that this process is of."""
    return slurm_queue.tasks(folder)[int(os.environ["SLURM_ARRAY_TASK_ID"])]


def _stamp(folder: Path) -> Path:
    return folder / f"{os.environ['SLURM_ARRAY_TASK_ID']}.state"


def state(folder: Path) -> str:
    """What tells one saved state of a job from the next; '' without one."""
    saved = [path for pattern in STATES for path in folder.rglob(pattern)]
    return " ".join(f"{path.name}:{path.stat().st_mtime_ns}" for path in sorted(saved))


if __name__ == "__main__":
    sys.exit({"run": run, "went-on": went_on}[sys.argv[1]](Path(sys.argv[2])))
