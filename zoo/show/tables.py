"""The tables of a plan: a row per model, from the records
that its jobs have, written to tables.md and printed.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.contract.result import Result
from pretrain.base import files
from reports.pages import markdown, terminal
from reports.tables.cells import Found, Missing, Row
from reports.tables.fill import fill
from zoo.plan.job import Job, Plan
from zoo.show.plan import reason
from zoo.suites.suite import Entry, Suite, Trained

WORDS = {"todo": "not run", "stale": "stale", "failed": "failed", "skip": "skipped"}


def show(plan: Plan, as_json: bool) -> None:
    """Prints the tables of a plan and writes them to tables.md; as JSON, the records."""
    rows = [_row(entry, plan) for entry in plan.request.entries]
    tables = fill(rows, plan.request.protocols)
    page, title, remark = (
        plan.request.store.tables,
        f"Model zoo, suite {plan.request.suite.name}",
        _remark(plan),
    )
    files.write_text(page, markdown.page(tables, title, remark, page.parent))
    if as_json:
        records = [job.record.as_json() for job in plan if job.state == "done" and job.record is not None]
        print(json.dumps(records, indent=1))
        return
    terminal.show(tables, title, remark)
    print(f"tables: {page}")


def _remark(plan: Plan) -> str:
    suite: Suite = plan.request.suite
    if suite.embedded:
        return (
            f"Numbers of the {suite.name} suite: small networks on embedded scenes of scanned digits. They show "
            "that the harness works and are not comparable with published ones."
        )
    return f"Numbers of suite {suite.name}, from its own data and settings."


def _row(entry: Entry, plan: Plan) -> Row:
    jobs = [job for job in plan if job.entry == entry]
    names = dict.fromkeys(job.name for job in jobs)
    weights = jobs[0].weights
    records = {name: _found([job for job in jobs if job.name == name]) for name in names}
    return Row(entry.name, weights if weights and weights.exists() else None, _config(entry, jobs), records)


def _config(entry: Entry, jobs: list[Job]) -> str:
    """What the Config column says of a model: of weights that were given, what their header says."""
    if isinstance(entry, Trained):
        return entry.recipe.config or entry.recipe.name
    records = [job.record for job in jobs if job.record is not None]
    return str(records[-1].model.get("config", "given")) if records else "given"


def _found(jobs: list[Job]) -> Found | Missing:
    """The records of all seeds, or what keeps the first missing one from being there."""
    found = list[tuple[Path, Result]]()
    for job in jobs:
        if job.state != "done":
            return Missing(WORDS[job.state], reason(job))
        if job.path is not None and job.record is not None:
            found.append((job.path, job.record))
    return found
