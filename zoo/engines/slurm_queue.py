"""The arrays of a home in SLURM's queue: submitted, asked after, cancelled, by its own commands. No torch.

    slurm/<array>/tasks.json   key, label and JOB.json of every task, in the order of their numbers
    slurm/<array>/<i>.log      a link to the log of the job

The folder is written before its array is submitted, and the array bears its name: whoever looks later finds
what is in the queue again, and needs no memory of who submitted it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote

from pretrain.base import files
from pretrain.base.faults import Fault
from zoo.engines.engine import Allocation
from zoo.engines.slurm_commands import TooMany, answer

TASKS = "tasks.json"
FOLDER = "slurm"
LARGEST = 500  # tasks of an array; SLURM's own bound is 1001 where nobody has changed it
NAMES = 500  # arrays asked after at a time
FORGET_SECONDS = 3600.0  # after which an array that SLURM knows no more is forgotten here, too

# Whatever is in none of these states has ended (man squeue, JOB STATE CODES).
_WAITS = {
    "PENDING",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "RESV_DEL_HOLD",
    "SPECIAL_EXIT",
}
_RUNS = {"RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"}
ACTIVE = frozenset(_WAITS | _RUNS)
# The processes meet on the first node, where this script runs, at a port that is free there.
# srun runs in the background because a shell that waits for a child in front hears no signal; it hands on
# what the script exports also where a cluster's jobs begin without an environment (sbatch --export=NONE).
SCRIPT = """#!/bin/bash
unset ZOO_PARENT RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE
go_on() {{ {python} -m zoo.engines.slurm_task went-on {folder} && scontrol requeue "$SLURM_JOB_ID"; }}
trap go_on USR1
MASTER_ADDR=$(hostname)
MASTER_PORT=$({python} -c 'import socket; s = socket.create_server(("", 0)); print(s.getsockname()[1])')
export MASTER_ADDR MASTER_PORT
srun --kill-on-bad-exit=1 --export=ALL ${{SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}} \\
    {python} -m zoo.engines.slurm_task run {folder} &
wait $!
code=$?
while kill -0 $! 2>/dev/null; do
    wait $!
    code=$?
done
exit $code
"""


@dataclass(frozen=True)
class Task:
    """A job as the queue needs it: its label, its JOB.json and its log; before: digest of the record that it
    found, '' for none; again: whether it empties its folder when it first starts.
    """

    label: str
    job: str
    log: str
    before: str = ""
    again: bool = False


@dataclass(frozen=True)
class Shape:
    """What each job of an array takes: nodes, processes per node, GPUs per node."""

    nodes: int = 1
    processes: int = 1
    gpus: int = 0


@dataclass(frozen=True)
class Seen:
    """A task as SLURM shows it: its number, state, the scheduler's reason, the nodes that it is on."""

    task: Task
    id: str
    state: str
    reason: str
    nodes: str

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason not in ("", "None") else ""
        return f"{self.task.label}: {self.state.lower()}{why}{f' on {self.nodes}' if self.nodes else ''}, {self.id}"


def submit(home: Path, tasks: Sequence[Task], shape: Shape, asked: Allocation) -> str:
    """Number of the array that now stands in the queue. Raises Fault: upstream where SLURM is out of reach or
    takes no more for now, bad-config where it refuses what is asked for.
    """
    name = f"zoo-{tasks[0].label.replace(' ', '-')}-{uuid.uuid4().hex[:8]}"
    folder = home.absolute() / FOLDER / name
    with files.explained(folder):
        folder.mkdir(parents=True)
        for i, task in enumerate(tasks):
            Path(task.log).parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.log").symlink_to(task.log)
    files.write_text(folder / TASKS, json.dumps([asdict(task) for task in tasks]))
    script = SCRIPT.format(python=quote(sys.executable), folder=quote(str(folder)))
    try:
        return answer([*_sbatch(name, folder, len(tasks), shape, asked)], script).strip().split(";")[0]
    except Fault as fault:
        if isinstance(fault, TooMany) or fault.reason != "upstream":
            # Refused: no array of this name will ever be.
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _sbatch(name: str, folder: Path, count: int, shape: Shape, asked: Allocation) -> list[str]:
    """The command line, whose script comes on stdin."""
    wanted = {
        "--nodes": shape.nodes,
        "--ntasks-per-node": shape.processes,
        "--gpus-per-node": shape.gpus,
        "--cpus-per-task": asked.cpus,
        "--partition": asked.partition,
        "--time": asked.time,
    }
    output = str(folder).replace("%", "%%")
    fixed = ["--parsable", "--requeue", "--open-mode=append", f"--signal=B:USR1@{asked.notice}"]
    fixed += [f"--job-name={name}", f"--array=0-{count - 1}", f"--output={output}/%a.log"]
    fixed += [f"--chdir={os.getcwd()}"]
    return [
        "sbatch",
        *fixed,
        *(f"{option}={value}" for option, value in wanted.items() if value),
        *asked.extra,
    ]


def seen(home: Path) -> dict[str, Seen]:
    """Every task of the home's arrays that SLURM still knows, by its JOB.json, since two models may share a
    key: of several tasks of a job the one that is active, or else the last. Raises Fault: upstream where
    SLURM does not answer.
    """
    arrays = {path.parent.name: tasks(path.parent) for path in sorted((home / FOLDER).glob(f"*/{TASKS}"))}
    if not arrays:
        return {}
    rows = [row for names in _few(sorted(arrays)) for row in _rows(names)]
    found = dict[str, Seen]()
    for number, name, index, state, nodes, reason in sorted(rows, key=lambda row: _order(row[0])):
        for task in _meant(index, arrays.get(name, [])):
            if task.job not in found or not found[task.job].active:
                found[task.job] = Seen(task, number, state, reason, nodes)
    _forget(home, set(arrays) - {row[1] for row in rows})
    return found


def exit_code(number: str) -> int | None:
    """Of a job that has ended; None where SLURM does not know any more."""
    try:
        found = re.search(r" ExitCode=(\d+):", answer(["scontrol", "show", "job", "--oneliner", number]))
    except Fault:
        return None
    return int(found[1]) if found else None


def _few(names: list[str]) -> list[list[str]]:
    """The names in parts that fit into a word of a command line (128 KiB on Linux)."""
    return [names[i : i + NAMES] for i in range(0, len(names), NAMES)]


def _rows(names: list[str]) -> list[list[str]]:
    """Number, name, index, state, nodes and reason of every task of arrays, as squeue prints them."""
    options = ["-h", "-r", "-a", "-t", "all", "-o", "%i|%j|%K|%T|%N|%r"]
    return [
        row.split("|", 5) for row in answer(["squeue", *options, f"--name={','.join(names)}"]).splitlines()
    ]


def _meant(index: str, known: list[Task]) -> list[Task]:
    """The task of a row, or all: an array that is cancelled before it starts has one row without a number,
    which sorts before the rows of those of its tasks that have some.
    """
    if not index.isdigit():
        return known
    return known[int(index) : int(index) + 1]


def _order(number: str) -> tuple[int, ...]:
    """Sorts 9_2 before 10_0."""
    return tuple(int(part) for part in number.split("_") if part.isdigit())


def tasks(folder: Path) -> list[Task]:
    """The tasks of an array."""
    try:
        return [Task(**one) for one in json.loads((folder / TASKS).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):  # forgotten between the look and the reading
        return []


def _forget(home: Path, unknown: set[str]) -> None:
    """Removes what is left of arrays that SLURM knows no more; young ones may only be on their way to it."""
    for name in unknown:
        folder = home / FOLDER / name
        if folder.exists() and time.time() - folder.stat().st_mtime > FORGET_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def cancel(home: Path, model: str = "", benchmark: str = "") -> list[Seen]:
    """Takes jobs out of the queue, of all models and benchmarks or of one; those that it took. Raises
    Fault.
    """
    mine = [
        one
        for one in seen(home).values()
        if one.active
        and all(
            word in ("", has) for word, has in zip((model, benchmark), one.task.label.split(), strict=False)
        )
    ]
    if mine:
        answer(["scancel", *(one.id for one in mine)])
    return mine


def lines(home: Path) -> list[str]:
    """For `zoo status`: a line for every job that waits or runs, or why SLURM cannot say."""
    try:
        return [str(one) for one in seen(home).values() if one.active]
    except Fault as fault:
        return [str(fault)]
