"""The tables of a plan: a row per model, from the records that its jobs have."""

from __future__ import annotations

import json
from collections.abc import Sequence

from benchmarks.contract.protocol import Protocol
from pretrain.base import files
from reports.damaged import WORD as DAMAGED
from reports.pages import markdown, terminal
from reports.tables.beside import beside
from reports.tables.cells import Row
from reports.tables.fill import Filled, fill
from reports.tables.seeds import FAILED, NOT_RUN, SKIPPED, STALE, Standing, settled
from zoo.plan.job import Job, Plan
from zoo.show.plan import reason
from zoo.suites.suite import Entry, Suite, Trained

WORDS = {"todo": NOT_RUN, "stale": STALE, "failed": FAILED, "skip": SKIPPED}


def write(plan: Plan) -> None:
    """Writes the tables of a plan to tables.md."""
    page = plan.request.store.tables
    tables = _filled(plan, begun(plan))
    files.write_text(page, markdown.page(tables, _title(plan), _remark(plan), page.parent))


def begun(plan: Plan) -> list[Protocol]:
    """The benchmarks that at least one model has been through, however it ended."""
    names = {job.name for job in plan if job.state in ("done", "failed", "stale") or job.damaged}
    return [protocol for protocol in plan.request.protocols if protocol.name in names]


def show(plan: Plan, protocols: Sequence[Protocol], as_json: bool) -> None:
    """Prints the tables of a plan with these benchmarks; as JSON, the records."""
    if as_json:
        records = [job.record.as_json() for job in plan if job.state == "done" and job.record is not None]
        print(json.dumps(records, indent=1))
        return
    terminal.show(_filled(plan, protocols), _title(plan), _remark(plan))


def _filled(plan: Plan, protocols: Sequence[Protocol]) -> list[Filled]:
    rows = [row(entry, plan) for entry in plan.request.entries]
    return beside(fill(rows, protocols), protocols, rows)


def _title(plan: Plan) -> str:
    return f"Model zoo, suite {plan.request.suite.name}"


def _remark(plan: Plan) -> str:
    suite: Suite = plan.request.suite
    said = f"Numbers of suite {suite.name}, from its own data and settings."
    if suite.embedded:
        said = (
            f"Numbers of the {suite.name} suite: small networks on embedded scenes of scanned digits. They show "
            "that the harness works and are not comparable with published ones."
        )
    if not suite.overrides:
        return said
    changed = [
        f"{name}.{path} = {json.dumps(new)}"
        for name, body in suite.overrides.items()
        for path, new in body.items()
    ]
    return f"{said} Settings other than the suite's: {', '.join(sorted(changed))}."


def row(entry: Entry, plan: Plan) -> Row:
    """A model of the plan with the records of all its jobs, or what keeps each from being there."""
    jobs = [job for job in plan if job.entry.name == entry.name]
    names = dict.fromkeys(job.name for job in jobs)
    weights = jobs[0].weights
    found = {name: settled([_standing(job) for job in jobs if job.name == name]) for name in names}
    return Row(
        entry.name,
        weights if weights and weights.exists() else None,
        _config(entry, jobs),
        {name: records for name, (records, _) in found.items()},
        {name: lacking for name, (_, lacking) in found.items() if lacking},
    )


def _config(entry: Entry, jobs: list[Job]) -> str:
    """What the Config column says of a model: of weights that were given, what their header says."""
    if isinstance(entry, Trained):
        return entry.recipe.config or entry.recipe.name
    records = [job.record for job in jobs if job.record is not None]
    return str(records[-1].model.get("config", "given")) if records else "given"


def _standing(job: Job) -> Standing:
    """Where a benchmark stands with the seeds of a job."""
    if job.state != "done":
        word = DAMAGED if job.damaged else WORDS[job.state]
        return Standing(job.model_seed, job.seed, word, reason(job))
    one = (job.path, job.record) if job.path is not None and job.record is not None else None
    return Standing(job.model_seed, job.seed, one=one)
