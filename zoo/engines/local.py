"""Carries out a plan in a process per job: slots of a GPU or of some cores, pretraining over all of them, one
crash stopping nothing.

Pretrainings come first, one after the other: each takes every slot. On GPUs so do the benchmarks that
processes compute together, and those of a foreign trainer, which shares its batch among GPUs. All others take
one slot each, and run before these.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.contract.result import readable
from pretrain.base import cores, process
from pretrain.base.faults import Fault
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
    """A job that runs: its process, the slots and lease it holds; before: digest of the record it found."""

    job: Job
    child: process.Child
    slots: list[str]
    held: ExitStack
    before: str


def run(plan: Plan, planner: Planner, orders: Orders, display: Display) -> Plan:
    """The plan as it ended."""
    campaign = Campaign(plan, planner, orders, display)
    for job in plan.jobs:
        if job.protocol is None:
            campaign.carry_out([job])
    rest = [campaign.plan.current(job) for job in plan.jobs if job.protocol is not None]
    campaign.carry_out(sorted(rest, key=lambda job: wanted(job, campaign.slots)))
    return campaign.plan


def gpu_slots(gpus: int) -> list[str]:
    """Ids of the GPUs to lease: those of CUDA_VISIBLE_DEVICES
    where it is set; one slot without a GPU, '', otherwise.
    """
    listed = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (listed or [str(i) for i in range(gpus)])[:gpus] if gpus else [""]


def wanted(job: Job, slots: list[str]) -> int:
    """How many slots a job takes."""
    protocol = job.protocol
    shared = protocol is None or (slots[0] != "" and (bool(protocol.roots) or protocol.together))
    return len(slots) if shared else 1


class Campaign:
    """A plan on its way: slots that are free, jobs that run on the others."""

    def __init__(self, plan: Plan, planner: Planner, orders: Orders, display: Display) -> None:
        self.plan, self.planner, self.orders, self.display = plan, planner, orders, display
        self.slots = gpu_slots(orders.gpus) * orders.jobs
        self.free, self.running, self._said = list(self.slots), list[Running](), set[str]()

    def carry_out(self, jobs: list[Job]) -> None:
        """Runs jobs as slots become free. On an interrupt every child's group is told to stop, then
        killed.
        """
        try:
            while jobs or self.running:
                jobs = self._begun(jobs)
                self._collect()
                time.sleep(POLL_SECONDS if jobs or self.running else 0)
        finally:
            process.stop([one.child for one in self.running])
            for one in self.running:
                one.held.close()

    def _begun(self, jobs: list[Job]) -> list[Job]:
        """Starts jobs for which there is room, and returns those that still wait.

        One that needs more slots than are free holds up those behind it, or would never get them. One that
        another command works on does not: two commands would wait for each other, each with the other's job.
        """
        kept = list[Job]()
        for i, job in enumerate(jobs):
            if wanted(job, self.slots) > len(self.free):
                return kept + jobs[i:]
            if not self._begin(job):
                kept.append(job)
        return kept

    def _begin(self, job: Job) -> bool:
        """Starts a job, or passes it by where nothing is to be done; False where it has to wait."""
        if any(one.job.key == job.key for one in self.running):  # of another name or seed of a model
            return False
        held = ExitStack()
        if job.runs(self.orders.again):
            if not self._leased(job, held):
                return False
            job = job if self.orders.again else self.planner.judged_again(job, self.plan)
        if job.runs(self.orders.again):
            slots = [self.free.pop(0) for _ in range(wanted(job, self.slots))]
            self.running.append(self._start(job, slots, held))
            return True
        held.close()
        self.display.passed(job)
        self.plan = self.planner.after(job, self.plan)
        return True

    def _leased(self, job: Job, held: ExitStack) -> bool:
        """Whether the job is ours now; that it is not is said once. Raises Fault under orders not to wait."""
        try:
            held.enter_context(lease(self.planner.store.lock(job.key), wait=False))
        except Fault as fault:
            if fault.reason != "busy" or not self.orders.wait:
                raise
            if job.label not in self._said:
                self.display.line(f"{job.label} waits: another command works on it")
            self._said.add(job.label)
            return False
        return True

    def _start(self, job: Job, slots: list[str], held: ExitStack) -> Running:
        request = self.plan.request
        if self.orders.again:
            child.clear(job)
        path = child.write(job, request.suite, request.store)
        log = request.store.log(job.label)
        gpus = [slot for slot in slots if slot]
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
        environment |= cores.share(len(slots), len(self.slots), len(gpus) or 1)
        argv = [sys.executable, *launcher(job, gpus), "-m", "zoo.engines.child", str(path)]
        before = _digest(job)
        self.display.started(job, log)
        return Running(job, process.start(argv, log, environment), slots, held, before)

    def _collect(self) -> None:
        """Takes in the records of processes that have ended."""
        for one in [one for one in self.running if one.child.code is not None]:
            self.running.remove(one)
            self.free += one.slots
            self.plan = self.planner.after(self._finished(one), self.plan)
            one.held.close()
            self.orders.kept()

    def _finished(self, one: Running) -> Job:
        """The job as its process has left it; a process that was killed leaves a failed record through us."""
        assert one.job.path is not None
        found = readable(one.job.path)
        if found is None or found.digest == one.before:
            found = child.left_nothing(one.job, self.plan.request.suite.name, one.child)
        job = ended(one.job, found)
        self.display.ended(job, one.child.tail(LAST_LINES) if job.state == "failed" else [])
        return job


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
