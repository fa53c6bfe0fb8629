"""A plan in words: a line per job with its state and reason, with all settings on demand."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from pretrain.base.settings import lines, plain
from zoo.plan.job import STATES, Job, Plan
from zoo.suites.suite import Trained


def show(plan: Plan, as_json: bool, settings: bool = False) -> None:
    """Prints the plan."""
    if as_json:
        print(json.dumps([as_dict(job) for job in plan], indent=1))
        return
    for job in plan:
        seed = f" seed {job.seed}" if job.seed else ""
        print(f"{job.state:<7} {job.entry.name:<16} {job.name:<24}{seed} {reason(job)}")
        for note in notes(job):
            print(f"          note: {note}")
        if settings:
            for path, value in lines(settings_of(job)):
                print(f"          {path} = {json.dumps(value)}")
    counts = Counter(job.state for job in plan)
    print(", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]))


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
        "state": job.state,
        "reason": reason(job),
        "record": str(job.path) if job.path else None,
        "settings": settings_of(job),
        "notes": list(notes(job)),
    }
