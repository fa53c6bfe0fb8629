"""Carries out a plan in a process per job: GPU slots, pretraining over all of them, one crash stopping
nothing.

Pretrainings come first, one after the other: each takes every slot. So do the benchmarks that processes
compute together, and those of a foreign trainer, which shares its batch among GPUs. All others take one slot
each, and run before these.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.contract.result import readable
from pretrain.base import cores, process
from pretrain.base.lease import lease
from zoo.engines import child
from zoo.engines.engine import Orders
from zoo.plan.job import Job, Plan
from zoo.plan.planner import Planner, ended
from zoo.show.progress import Display

POLL_SECONDS = 0.2
LAST_LINES = 5


@dataclass
class Running:
    """A job that runs: its process, the GPUs and lease it holds; before: digest of the record it found."""

    job: Job
    child: process.Child
    gpus: list[str]
    held: ExitStack
    before: str


def run(plan: Plan, planner: Planner, orders: Orders, display: Display) -> Plan:
    """The plan as it ended."""
    slots = gpu_slots(orders.gpus)
    for job in plan.jobs:
        if job.protocol is None:
            plan = _carry_out([job], plan, planner, orders, display, slots)
    rest = [plan.current(job) for job in plan.jobs if job.protocol is not None]
    return _carry_out(sorted(rest, key=lambda job: wanted(job, slots)), plan, planner, orders, display, slots)


def gpu_slots(gpus: int) -> list[str]:
    """Ids of the GPUs to lease: those of CUDA_VISIBLE_DEVICES
    where it is set; one slot without a GPU otherwise.
    """
    listed = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (listed or [str(i) for i in range(gpus)])[:gpus] if gpus else [""]


def wanted(job: Job, slots: list[str]) -> int:
    """How many slots a job takes."""
    protocol = job.protocol
    return len(slots) if protocol is None or protocol.roots or protocol.together else 1


def _carry_out(
    jobs: list[Job], plan: Plan, planner: Planner, orders: Orders, display: Display, slots: list[str]
) -> Plan:
    """Runs jobs as slots become free. On an interrupt every child's group is told to stop, then killed."""
    free, running, waiting = list(slots), list[Running](), list(jobs)
    try:
        while waiting or running:
            while waiting and wanted(waiting[0], slots) <= len(free) and not _held(waiting[0], running):
                job = waiting.pop(0)
                held = ExitStack()
                if job.runs(orders.again):
                    held.enter_context(lease(planner.store.lock(job.key), orders.wait, display.waiting))
                    job = job if orders.again else planner.judged_again(job, plan)
                if not job.runs(orders.again):
                    held.close()
                    display.passed(job)
                    plan = planner.after(job, plan)
                    continue
                gpus = [free.pop(0) for _ in range(wanted(job, slots))]
                running.append(_start(job, plan, gpus, len(slots), held, orders, display))
            for one in [one for one in running if one.child.code is not None]:
                running.remove(one)
                free += one.gpus
                plan = planner.after(_finished(one, plan, display), plan)
                one.held.close()
                orders.kept()
            time.sleep(POLL_SECONDS if running else 0)
    finally:
        process.stop([one.child for one in running])
        for one in running:
            one.held.close()
    return plan


def _held(job: Job, running: list[Running]) -> bool:
    """Whether we hold its lease already, for a job with the same key: of another name or seed of a model."""
    return any(one.job.key == job.key for one in running)


def _start(
    job: Job, plan: Plan, gpus: list[str], slots: int, held: ExitStack, orders: Orders, display: Display
) -> Running:
    request = plan.request
    if orders.again:
        child.clear(job)
    path = child.write(job, request.suite, request.store)
    log = request.store.log(job.label)
    environment = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus != [""] else {}
    environment |= cores.share(len(gpus), slots)
    argv = [sys.executable, *launcher(job, gpus), "-m", "zoo.engines.child", str(path)]
    before = _digest(job)
    display.started(job, log)
    return Running(job, process.start(argv, log, environment), gpus, held, before)


def _digest(job: Job) -> str:
    """Of the job's record; '' without one. It tells records apart where clocks cannot: they jump."""
    assert job.path is not None
    found = readable(job.path)
    return found.digest if found else ""


def launcher(job: Job, gpus: list[str]) -> list[str]:
    """What starts a process per GPU: for pretraining and what processes compute together; a foreign trainer
    starts its own.
    """
    if len(gpus) < 2 or (job.protocol is not None and not job.protocol.together):
        return []
    return ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={len(gpus)}"]


def _finished(one: Running, plan: Plan, display: Display) -> Job:
    """The job as its process has left it; a process that was killed leaves a failed record through us."""
    assert one.job.path is not None
    found = readable(one.job.path)
    if found is None or found.digest == one.before:
        found = child.left_nothing(one.job, plan.request.suite.name, one.child)
    job = ended(one.job, found)
    display.ended(job, one.child.tail(LAST_LINES) if job.state == "failed" else [])
    return job
