"""A plan in words: a line per job with its state and reason, with all settings on demand."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pretrain.base.settings import lines, plain
from zoo.plan import hours, left_out, space
from zoo.plan.datasets import Datasets
from zoo.plan.devices import Machine
from zoo.plan.hours import Estimate
from zoo.plan.job import STATES, Job, Plan
from zoo.show import hours as times
from zoo.suites.suite import Trained


def show(
    plan: Plan,
    as_json: bool,
    settings: bool = False,
    again: bool = False,
    datasets: Datasets | None = None,
    machine: Machine | None = None,
) -> None:
    """Prints the plan; again: what is done is to be done once more; datasets: also the space it will take;
    machine: also the time on it.
    """
    if again:
        plan = replace(plan, jobs=tuple(_again(job) for job in plan))
    unused = left_out.sentence(datasets) if datasets else ""
    found = hours.of_plan(plan, datasets, machine) if datasets and machine else []
    took = {i: one for i, (job, one) in enumerate(found) if times.to_do(job)}
    if as_json:
        print(json.dumps([as_dict(job) | _estimated(i, took) for i, job in enumerate(plan)], indent=1))
        return
    for i, job in enumerate(plan):
        said = times.phrase(took.get(i))
        words = " ".join(filter(None, (f"{job.name:<24}", job.seeds, reason(job), said and f"({said})")))
        print(f"{job.state:<7} {job.entry.name:<16} {words}")
        for note in notes(job):
            print(f"          note: {note}")
        if settings:
            for path, value in lines(settings_of(job)):
                print(f"          {path} = {json.dumps(value)}")
    counts = Counter(job.state for job in plan)
    print(", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]))
    if unused:
        print(f"note: {unused}")
    if datasets and (said := space.sentence(plan, datasets)):
        print(said)
    if machine and (said := times.sentence(found, machine)):
        print(said)


def _estimated(i: int, took: dict[int, Estimate | None]) -> dict[str, Any]:
    return {"estimate": times.values(took[i])} if i in took else {}


def _again(job: Job) -> Job:
    if job.state == "done" and job.runs(again=True):
        return replace(job, state="todo", note="to be computed again, as asked")
    return job


def summary(plan: Plan) -> None:
    """What became of a plan: counts, every failure with its reason, where to look."""
    counts = Counter(job.state for job in plan)
    print(", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]), file=sys.stderr)
    for line in without_number(plan):
        print(f"  {line}", file=sys.stderr)
    print(f"tables: {plan.request.store.tables}", file=sys.stderr)


def without_number(jobs: Iterable[Job]) -> list[str]:
    """Which jobs have failed, but for benchmarks of failed pretrainings, and why others are skipped."""
    every = list(jobs)
    untrained = {
        (job.entry.name, job.seed) for job in every if job.protocol is None and job.state == "failed"
    }
    failed = [
        f"failed: {job.label}: {reason(job)}"
        for job in every
        if job.state == "failed"
        and (job.protocol is None or (job.entry.name, job.model_seed) not in untrained)
    ]
    skipped = Counter(reason(job) for job in every if job.state == "skip")
    return failed + [f"skipped: {n} {'job' if n == 1 else 'jobs'}: {why}" for why, n in skipped.items()]


def reason(job: Job) -> str:
    """Why a job is in its state, as one phrase."""
    if job.why is not None:
        return f"{job.why.reason}: {job.why}"
    changed = ", ".join(map(str, job.changes))
    return f"{job.note}: {changed}" if changed else job.note


def notes(job: Job) -> tuple[str, ...]:
    """Settings that followed from others."""
    if job.protocol is not None:
        return job.protocol.notes
    return job.entry.notes if isinstance(job.entry, Trained) else ()


def settings_of(job: Job) -> Any:
    """The recipe or the protocol's settings as JSON values; of weights that were given, none."""
    if job.protocol is not None:
        return plain(job.protocol.settings)
    return plain(job.entry.recipe) if isinstance(job.entry, Trained) else {}


def as_dict(job: Job) -> dict[str, Any]:
    return {
        "model": job.entry.name,
        "job": job.name,
        "seed": job.seed,
        "trained": job.model_seed,
        "state": job.state,
        "reason": reason(job),
        "record": str(job.path) if job.path else None,
        "settings": settings_of(job),
        "notes": list(notes(job)),
    }
