"""Carries out a plan as jobs of a SLURM cluster, from a process that submits and looks, and may be killed.

Plain sbatch: what is needed of SLURM is four commands, and they are the same on every cluster. Pretrainings
come first. A benchmark is submitted when the pretraining that it waits for has ended, because only then its
identity is known. All that is ready goes in as arrays, never more jobs at a time than the limit. The same
command again takes up what is in the queue.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.contract.result import Result, readable
from pretrain.base.faults import Fault, Reason
from pretrain.base.lease import lease
from zoo.engines import child, slurm_queue
from zoo.engines.engine import Orders
from zoo.engines.slurm_commands import TooMany, require_free
from zoo.engines.slurm_queue import LARGEST, Seen, Shape, Task
from zoo.jobs import record
from zoo.plan.job import FULL, Job, Plan
from zoo.plan.planner import Planner, ended
from zoo.show.progress import Display
from zoo.suites.suite import Trained

POLL_SECONDS = 5.0
LOOKS = (
    3  # at a job that has left the queue, before it is said to have left no record: shares show files late
)
LAST_LINES = 5
ENDS: dict[str, tuple[Reason, str]] = {
    "TIMEOUT": ("timeout", "was ended at its time limit; give it more with --slurm-time"),
    "DEADLINE": ("timeout", "was ended at its deadline"),
    "PREEMPTED": ("preempted", "was preempted and not requeued; start the command again"),
    "OUT_OF_MEMORY": ("oom-host", "ran out of memory; ask for more with --slurm-extra=--mem=SIZE"),
    "CANCELLED": ("killed", "was cancelled; start the command again to submit it again"),
    "NODE_FAIL": ("killed", "lost its node and was not requeued; start the command again"),
    "BOOT_FAIL": ("killed", "was given a node that did not start; start the command again"),
}


@dataclass
class Flight:
    """A job in the queue; before: digest of the record it found; as it was last seen, how often it was missed
    since, whether it was said to run.
    """

    job: Job
    since: datetime
    before: str
    last: Seen | None = None
    missed: int = 0
    said: bool = False


def run(plan: Plan, planner: Planner, orders: Orders, display: Display) -> Plan:
    """The plan as it ended; without `wait` as it is when all that is ready is in the queue."""
    require_free(orders.slurm.extra)
    return Campaign(plan, planner, orders, display).carried_out()


class Campaign:
    """A plan on its way: jobs that are not submitted yet, jobs in the queue by their JOB.json."""

    def __init__(self, plan: Plan, planner: Planner, orders: Orders, display: Display) -> None:
        self.plan, self.planner, self.orders, self.display = plan, planner, orders, display
        self.home, self.waiting, self.flying = plan.request.store.home, list(plan.jobs), dict[str, Flight]()
        self._said = ""

    def carried_out(self) -> Plan:
        """Submits and looks until nothing is left."""
        while self.waiting or self.flying:
            try:
                self._submit(self._ready())
                if not self.orders.wait:
                    break
                self._look()
            except Fault as fault:
                if fault.reason != "upstream":
                    raise
                self._say(str(fault))
            time.sleep(POLL_SECONDS if self.flying or self.waiting else 0)
        return self.plan

    def _ready(self) -> list[Job]:
        """Jobs to submit now, as many as the limit leaves room for; what is not to be run is passed by.

        A quarter of the limit has to be free, so that a long plan goes in as arrays, not one by one.
        """
        limit = self.orders.slurm.limit
        if self.flying and limit - len(self.flying) < limit // 4:
            return []
        ready, kept, taken = list[Job](), list[Job](), set(self.flying)
        awaited = {_model(job) for job in self.waiting if job.protocol is None}
        awaited |= {_model(one.job) for one in self.flying.values() if one.job.protocol is None}
        for old in self.waiting:
            if len(ready) + len(self.flying) >= limit:
                kept.append(old)
                continue
            if old.protocol is not None and _model(old) in awaited:
                kept.append(old)
                continue
            job = self.plan.current(old)
            job = job if self.orders.again else self.planner.judged_again(job, self.plan)
            if job.runs(self.orders.again):
                kept.append(old)
                if _file(job) not in taken:  # else another job leaves this record: judged again after that
                    ready.append(job)
                    taken.add(_file(job))
            else:
                self.display.passed(job)
                self.plan = self.planner.after(job, self.plan)
                awaited -= {_model(job)} if job.protocol is None else set()
        self.waiting = kept
        return ready

    def _submit(self, ready: list[Job]) -> None:
        """Puts jobs in the queue that are not there; one command at a time, so that none goes in twice."""
        if not ready:
            return
        with lease(self.plan.request.store.lock("slurm"), waiting=self.display.waiting):
            there = {file: one for file, one in slurm_queue.seen(self.home).items() if one.active}
            attached = [job for job in ready if _file(job) in there]
            for job in attached:
                self.display.line(f"in the queue already: {there[_file(job)]}")
            self._took(attached, [there[_file(job)].task for job in attached])
            for shape, jobs in self._arrays([job for job in ready if _file(job) not in there]):
                self._put(shape, jobs)

    def _put(self, shape: Shape, jobs: list[Job]) -> None:
        """Submits jobs as one array, or as smaller ones where SLURM takes none of so many. Raises Fault."""
        tasks = [self._task(job) for job in jobs]
        try:
            number = slurm_queue.submit(self.home, tasks, shape, self.orders.slurm)
        except TooMany:
            if len(jobs) == 1:
                raise
            self._put(shape, jobs[: len(jobs) // 2])
            self._put(shape, jobs[len(jobs) // 2 :])
            return
        self._took(jobs, tasks)
        self.display.line(f"submitted {number}: {_words([job.label for job in jobs])}")

    def _arrays(self, jobs: list[Job]) -> Iterator[tuple[Shape, list[Job]]]:
        """Jobs that take the same, in arrays that SLURM takes."""
        shapes = dict[Shape, list[Job]]()
        for job in jobs:
            shapes.setdefault(self._shape(job), []).append(job)
        for shape, mine in shapes.items():
            for first in range(0, len(mine), LARGEST):
                yield shape, mine[first : first + LARGEST]

    def _shape(self, job: Job) -> Shape:
        """Pretraining: a process per GPU of every node, one in all where there are no epochs. Benchmarks are
        on one node: a process per GPU where they compute together; a foreign trainer starts its own.
        """
        gpus = self.orders.gpus
        if isinstance(job.entry, Trained) and job.protocol is None and job.entry.recipe.epochs:
            return Shape(self.orders.slurm.nodes, max(gpus, 1), gpus)
        if job.protocol and job.protocol.together:
            return Shape(1, max(gpus, 1), gpus)
        return Shape(gpus=gpus if job.protocol and job.protocol.roots else min(gpus, 1))

    def _task(self, job: Job) -> Task:
        """What the queue needs of a job. What is there stays until the job starts: SLURM may refuse it."""
        request, left = self.plan.request, _left(job)
        log = request.store.log(job.label).absolute()
        log.unlink(missing_ok=True)
        child.write(job, request.suite, request.store)
        before = left.digest if left else ""
        return Task(job.label, _file(job), str(log), before, self.orders.again)

    def _took(self, jobs: list[Job], tasks: list[Task]) -> None:
        now = datetime.now(UTC)
        self.flying |= {
            _file(job): Flight(job, now, task.before) for job, task in zip(jobs, tasks, strict=True)
        }
        taken = {job.label for job in jobs}
        self.waiting = [job for job in self.waiting if job.label not in taken]

    def _look(self) -> None:
        """Asks SLURM after every job, and takes in the records of those that have left the queue."""
        seen = slurm_queue.seen(self.home) if self.flying else {}
        for file, flight in list(self.flying.items()):
            now = seen.get(file)
            flight.last = now or flight.last
            if now and now.active:
                flight.missed = 0
                self._started(flight, now)
                continue
            flight.missed += 1
            found = _left(flight.job)
            new = found is not None and found.digest != flight.before
            if (new and found and found.status == "ok") or flight.missed >= LOOKS:
                del self.flying[file]
                job = self._finished(flight, found)
                self.plan = self.planner.after(job, self.plan)
                self.orders.kept()
        self._say(_summary([seen[file] for file in self.flying if file in seen]))

    def _started(self, flight: Flight, now: Seen) -> None:
        if now.state == "RUNNING" and not flight.said:
            flight.said = True
            self.display.started(flight.job, self.plan.request.store.log(flight.job.label))

    def _finished(self, flight: Flight, found: Result | None) -> Job:
        """The job as it ended: as its record says, unless the scheduler ended it and knows better why. Of a
        job that never started the finished record that it was to replace stays.
        """
        last = flight.last
        taken = last is not None and last.state in ENDS
        old = found is not None and found.digest == flight.before
        if found is None or old or (found.status != "ok" and taken):
            log = self.plan.request.store.log(flight.job.label)
            fault = autopsy(last, log)
            made = record.made(flight.job, self.plan.request.suite.name, flight.since, fault)
            found = made if found and found.status == "ok" else record.keep(flight.job, made)
        job = ended(flight.job, found)
        self.display.ended(job, self._tail(job) if job.state == "failed" else [])
        return job

    def _tail(self, job: Job) -> list[str]:
        try:
            log = self.plan.request.store.log(job.label).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return log.splitlines()[-LAST_LINES:]

    def _say(self, line: str) -> None:
        """A line, where it is not the one that was said last."""
        if line and line != self._said:
            self.display.line(line)
        self._said = line


def autopsy(last: Seen | None, log: Path) -> Fault:
    """Why a job left the queue without a record, as the scheduler says."""
    if last is None:
        return Fault("killed", f"its SLURM job left the queue before it was seen there; see {log}")
    gone: tuple[Reason, str] = ("killed", f"has left the queue, where it was last {last.state.lower()}")
    crashed: tuple[Reason, str] = ("worker-crash", f"ended as {last.state.lower()} ({last.reason})")
    reason, how = ENDS.get(last.state, gone if last.active else crashed)
    if last.state == "FAILED" and slurm_queue.exit_code(last.id) == FULL:
        reason, how = child.NO_SPACE
    return Fault(reason, f"SLURM job {last.id} {how}; it left no record, its log is {log}")


def _file(job: Job) -> str:
    """The JOB.json of a job: what tells it from every other in the queue."""
    assert job.folder is not None
    return str((job.folder / child.JOB).absolute())


def _left(job: Job) -> Result | None:
    """The record that is there now."""
    assert job.path is not None
    return readable(job.path)


def _model(job: Job) -> tuple[str, int]:
    return job.entry.name, job.model_seed


def _words(labels: list[str]) -> str:
    """The first labels and how many more there are."""
    return ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")


def _summary(seen: list[Seen]) -> str:
    """How many jobs are in which state, for which reason."""
    counts = dict[str, int]()
    for one in seen:
        why = f" ({one.reason})" if one.state != "RUNNING" and one.reason not in ("", "None") else ""
        counts[f"{one.state.lower()}{why}"] = counts.get(f"{one.state.lower()}{why}", 0) + 1
    return (
        f"SLURM: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}" if counts else ""
    )
