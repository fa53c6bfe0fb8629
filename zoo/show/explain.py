"""Why a number is there, stale or missing: its identity
field by field, and the circumstances of its record.
"""

from __future__ import annotations

import json

from pretrain.base.settings import lines
from zoo.plan.job import Job, Plan
from zoo.show.plan import reason


def show(plan: Plan, name: str) -> None:
    """Prints the explanation of a job of the model asked for, for every seed; `timm:NAME` is called otherwise
    in records.
    """
    for job in plan:
        if job.entry.name in plan.request.asked and job.name == name:
            _job(job)


def _job(job: Job) -> None:
    print(f"{job.label}: {job.state} ({reason(job)})")
    if job.identity is None:
        return
    print(f"  key {job.key}, the digest of:")
    for path, value in lines(job.identity):
        print(f"    {path} = {json.dumps(value)}")
    if job.record is None:
        return
    print(f"  record {job.path}")
    for score in job.record.metrics:
        selection = score.selection
        chosen = f"  {selection.choice}, best {selection.of} by {selection.on}" if selection else ""
        value = f"{score.value!r} {score.unit} on {score.split}, n {score.n}"
        print(f"    {score.name} = {value}{chosen} {score.note}".rstrip())
    circumstances = {"env": job.record.env, "cost": job.record.cost, "time": job.record.time}
    for path, value in lines(circumstances):
        print(f"    {path} = {json.dumps(value)}")
