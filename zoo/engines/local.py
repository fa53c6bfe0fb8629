"""Runs each job in a process of its own: GPU slots, pretraining over several GPUs, one crash stopping nothing.

A job is an argv, `python -m zoo.run MODEL --benchmarks NAME`, and its only output is its record. A child that is
killed without leaving one gets a `failed` record in its stead (ended.py): its log's end is printed here, and the next
call runs the job again from its own last checkpoint.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.engines.ended import leave
from zoo.plan import Job
from zoo.progress import Display
from zoo.suite import draw

if TYPE_CHECKING:
    from zoo.call import Call

POLL_SECONDS = 0.2


@dataclass
class Child:
    """A running job: its process (a group of its own), the GPUs it holds, its log."""

    label: str
    process: subprocess.Popen[bytes]
    gpus: list[str]
    log: Path
    job: Job
    started: datetime


def run(call: Call, jobs: list[Job], gpus: int, again: bool) -> bool:
    """Pretrains every model, then runs all benchmarks on the free slots; returns whether a job failed.

    Benchmarks that a foreign trainer runs take every slot, for it shares its batch among GPUs; they wait until the
    others, which take one slot each, are done.
    """
    draw(call.suite)
    slots = _slots(gpus)
    display = Display(len(jobs))
    failed = False
    pretraining = [job for job in _runnable(call.plan(), again) if job.protocol is None]
    for job in pretraining:  # one after the other: each takes every slot
        failed |= _all([(job, slots)], call, slots, display, again)
    plan = call.plan()
    failed |= any(job.state == "failed" and job.path is None for job in plan)
    rest = [job for job in _runnable(plan, again) if job.protocol is not None]
    wanted = sorted(((job, _wanted(job, slots)) for job in rest), key=lambda one: len(one[1]))
    return _all(wanted, call, slots, display, again) or failed


def _runnable(jobs: list[Job], again: bool) -> list[Job]:
    """Jobs to start a child for. One without a path lacks its data or, with a failed pretraining, its weights."""
    return [job for job in jobs if job.path is not None and job.state != "skip" and (again or job.state != "done")]


def _wanted(job: Job, slots: list[str]) -> list[str]:
    return slots if job.protocol is None or job.protocol.roots else slots[:1]


def _slots(gpus: int) -> list[str]:
    """Ids of the GPUs to lease: those of CUDA_VISIBLE_DEVICES where it is set; one slot without a GPU otherwise."""
    listed = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (listed or [str(i) for i in range(gpus)])[:gpus] if gpus else [""]


def _all(jobs: list[tuple[Job, list[str]]], call: Call, slots: list[str], display: Display, again: bool) -> bool:
    """Runs jobs as slots become free. On an interrupt every child's group is told to stop, then killed."""
    free, running, waiting, failed = list(slots), list[Child](), list(jobs), False
    try:
        while waiting or running:
            while waiting and len(waiting[0][1]) <= len(free):
                job, wanted = waiting.pop(0)
                held = [free.pop(0) for _ in wanted]
                running.append(_start(job, held, call, display, again))
            for child in [child for child in running if child.process.poll() is not None]:
                running.remove(child)
                free += child.gpus
                failed |= _finished(child, call.suite.name, display)
            time.sleep(POLL_SECONDS)
    finally:
        _stop(running)
    return failed


def _start(job: Job, gpus: list[str], call: Call, display: Display, again: bool) -> Child:
    display.number += 1
    label = f"[{display.number}/{display.jobs}] {job.entry.name} {job.name} seed {job.seed}"
    logs = call.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{job.entry.name}-{job.name}-s{job.seed}.log"
    environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus != [""] else {})}
    with log.open("wb") as out:
        argv = [sys.executable, *_launcher(job, gpus), "-m", "zoo.run", *arguments(job, call, again)]
        process = subprocess.Popen(argv, stdout=out, stderr=out, env=environment, start_new_session=True)
    display.line(f"{label}: started, log {log}")
    return Child(label, process, gpus, log, job, datetime.now(UTC))


def _launcher(job: Job, gpus: list[str]) -> list[str]:
    """What starts a process per GPU: for pretraining alone, because a foreign trainer starts its own."""
    if job.protocol is not None or len(gpus) < 2:
        return []
    return ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={len(gpus)}"]


def arguments(job: Job, call: Call, again: bool) -> list[str]:
    """Arguments of `zoo.run` that run just this job in this process."""
    words = [job.entry.name, "--benchmarks", job.name if job.protocol else "none", "--engine", "inline", "--alone"]
    words += ["--suite", call.suite_name, "--out", str(call.home), "--seeds", str(job.seed)]
    words += [word for pair in call.sets for word in ("--set", pair)]
    words += ["--checkpoint", str(call.checkpoint)] if call.checkpoint else []
    return words + (["--overwrite", "always"] if again else [])


def _finished(child: Child, suite: str, display: Display) -> bool:
    """Says how a child ended, and records it where the child could not; True if it failed."""
    code = child.process.returncode
    if code == 0:
        display.line(f"{child.label}: done")
        return False
    leave(child.job, suite, code, child.started, child.log)
    ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    last = "\n    ".join(child.log.read_text(errors="replace").splitlines()[-5:])
    display.line(f"{child.label}: FAILED ({ended}), log {child.log}\n    {last}")
    return True


def _stop(children: list[Child]) -> None:
    for child in children:
        os.killpg(child.process.pid, signal.SIGTERM)
    for child in children:
        try:
            child.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(child.process.pid, signal.SIGKILL)
