"""What the commands print: the catalogue, plans, explanations, tables. No torch here."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks import result
from pretrain import files, folder, method
from pretrain.faults import Fault
from pretrain.recipe import facts
from reports.page import markdown
from reports.tables import Missing, Row, fill
from zoo import suite as suites
from zoo.call import Call, evaluated
from zoo.plan import Job, Planner, difference, readable

WORDS = {"todo": "not run", "stale": "stale", "failed": "failed", "skip": "skipped"}


def catalogue(suite_name: str, out: Path | None, as_json: bool) -> None:
    """Models with their recipes in every variant, benchmarks with their settings' source, suites."""
    suite = suites.load(suite_name, out, {})
    models = {name: _recipes(name) for name in folder.names("pretrain.methods")}
    protocols = suite.catalogue()
    if as_json:
        body = {"models": models, "benchmarks": list(protocols), "suites": list(suites.BUILT_IN)}
        print(json_module.dumps(body, indent=1))
        return
    print("models")
    for name, recipes in models.items():
        print(f"  {name:<16} {_first_line('pretrain.methods', name)}")
        for variant, names in recipes.items():
            print(f"    {variant:<6} {', '.join(names)}")
    print(f"benchmarks (suite {suite.name})")
    for name, protocol in protocols.items():
        print(f"  {name:<24} {protocol.title}")
    print(f"suites\n  {', '.join(suites.BUILT_IN)}, or a TOML file of your own")


def _recipes(name: str) -> dict[str, list[str]]:
    return {variant: [recipe.name for recipe in found] for variant, found in method.recipes(name).items()}


def _first_line(package: str, name: str) -> str:
    return (folder.load(package, name).__doc__ or "").strip().splitlines()[0]


def plan(jobs: list[Job], as_json: bool, settings: bool = False) -> None:
    """A line per job: state, model, benchmark, reason; with all settings on demand."""
    if as_json:
        print(json_module.dumps([_as_dict(job) for job in jobs], indent=1))
        return
    for job in jobs:
        seed = f" seed {job.seed}" if job.seed else ""
        print(f"{job.state:<7} {job.entry.name:<16} {job.name:<24}{seed} {job.reason}")
        if settings:
            shown = facts(job.protocol.settings if job.protocol else job.entry.recipe)
            for line in _lines(shown):
                print(f"          {line}")
    counts = {state: sum(job.state == state for job in jobs) for state in ("todo", "done", "stale", "failed", "skip")}
    print(", ".join(f"{number} {state}" for state, number in counts.items() if number))


def _as_dict(job: Job) -> dict[str, Any]:
    return {
        "model": job.entry.name,
        "job": job.name,
        "seed": job.seed,
        "state": job.state,
        "reason": job.reason,
        "record": str(job.path) if job.path else None,
        "settings": facts(job.protocol.settings if job.protocol else job.entry.recipe),
    }


def _lines(value: Any, at: str = "") -> list[str]:
    """Settings as `path = value`, nested ones dotted."""
    if isinstance(value, dict):
        return [line for k, v in value.items() if k != "type" for line in _lines(v, f"{at}.{k}".lstrip("."))]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [line for i, item in enumerate(value) for line in _lines(item, f"{at}[{i}]")]
    return [f"{at} = {json_module.dumps(value)}"]


def explain(call: Call, protocol: str) -> None:
    """State, reason, key and its parts; the record's circumstances where there is one."""
    jobs = [job for job in call.plan() if job.entry.name == call.entries[0].name and job.name == protocol]
    for job in jobs:
        print(f"{job.entry.name} {job.name} seed {job.seed}: {job.state} ({job.reason})")
        if not job.parts:
            continue
        print(f"  key {job.key}, the hash of:")
        for line in _lines(job.parts):
            print(f"    {line}")
        record = readable(job.path) if job.path else None
        if record is None:
            continue
        print(f"  record {job.path}")
        for metric in record.metrics:
            print(f"    {metric.name} = {metric.value!r} {metric.unit} on {metric.split}, n {metric.n}  {metric.note}")
        for line in difference({}, {"env": record.env, "cost": record.cost, "time": record.time}):
            print(f"    {line.replace(': null ->', ' =')}")


def everything(suite_name: str, out: Path | None) -> Call:
    """A call for every model that a suite's folder knows."""
    home = suites.home(suite_name, out)
    suite = suites.load(suite_name, out, {})
    known = {path.name.rpartition("-s")[0] for path in home.glob("models/*-s*-*")}
    seeds = sorted({path.name.rpartition("-s")[2].partition("-")[0] for path in home.glob("models/*-s*-*")})
    models = [name for name in sorted(known) if name not in suite.beside]
    given = evaluated(suite, home)
    if not known and not given:
        raise Fault("data-missing", f"{home} holds no model yet; run `zoo run odc --all-benchmarks` first")
    call = Call(models, None, suite_name, out, [], ",".join(seeds) or "0", None, alone=not known)
    call.entries += given
    return call


def status(suite_name: str, out: Path | None, as_json: bool) -> None:
    """The plan of everything that a suite's folder knows."""
    plan(everything(suite_name, out).plan(), as_json)


def tables(call: Call, as_json: bool) -> None:
    """Prints the tables and writes them to tables.md; as JSON, the records."""
    rows = _rows(call)
    page = call.home / "tables.md"
    title = f"Model zoo, suite {call.suite.name}"
    files.write_text(page, markdown(rows, title, _remark(call), page.parent))
    if as_json:
        records = [
            r.model_dump(mode="json")
            for row in rows
            for f in row.records.values()
            if not isinstance(f, Missing)
            for _, r in f
        ]
        print(json_module.dumps(records, indent=1))
        return
    _print(rows, title, _remark(call))
    print(f"tables: {page}")


def _remark(call: Call) -> str:
    if call.suite.name in ("demo", "smoke"):
        return (
            f"Numbers of the {call.suite.name} suite: small networks on embedded scenes of scanned digits. They show "
            "that the harness works and are not comparable with published ones."
        )
    return f"Numbers of suite {call.suite.name}, from its own data and settings."


def _rows(call: Call) -> list[Row]:
    """A row per model: of this call, and of every other model in the folder whose numbers are current."""
    planner = call.planner()
    protocols = list(call.suite.catalogue().values())
    rows = []
    for entry in [*call.entries, *_others(call)]:
        jobs = planner.jobs([entry], protocols, call.seeds)
        names = dict.fromkeys(job.name for job in jobs)
        records = {name: _found([job for job in jobs if job.name == name]) for name in names}
        rows.append(Row(entry.name, _weights(planner, entry, call.seeds[0]), _config(planner.config(entry)), records))
    return rows


def _weights(planner: Planner, entry: suites.Entry, seed: int) -> Path | None:
    """Where the weights are, if they are."""
    try:
        path = planner.weights(entry, seed)
    except Fault:  # without images a model has no folder yet
        return None
    return path if path.exists() else None


def _others(call: Call) -> list[suites.Entry]:
    """Models that were trained in this folder before and are not part of this call."""
    here = {entry.name for entry in call.entries}
    names = sorted({path.name.rpartition("-s")[0] for path in call.home.glob("models/*-s*-*/backbone.safetensors")})
    found = []
    for name in names:
        if name not in here:
            try:
                found.append(call.suite.entry(name))
            except Fault:  # its file was taken out of the zoo since
                continue
    return found + [entry for entry in evaluated(call.suite, call.home) if entry.name not in here]


def _config(recipe: str) -> str:
    """The recipe's name as the pages write it: without method and data set."""
    return recipe.partition("_")[2].rpartition("_in1k")[0] or recipe.partition("_")[2] or recipe


def _found(jobs: list[Job]) -> list[tuple[Path, result.Result]] | Missing:
    """The records of all seeds, or what keeps the first missing one from being there."""
    for job in jobs:
        if job.state != "done":
            return Missing(WORDS[job.state], job.reason)
    return [(job.path, result.read(job.path)) for job in jobs if job.path is not None]


def _print(rows: list[Row], title: str, remark: str) -> None:
    console = Console(width=None if Console().is_terminal else 180)
    console.print(f"{title}\n{remark}", markup=False)
    for filled in fill(rows):
        if not filled.table.columns:
            continue
        table = RichTable(title=filled.table.heading, title_justify="left")
        for column in filled.table.columns:
            table.add_column(column, no_wrap=column not in ("Config", "Pretrain Config", "Fine-tuned Config"))
        for row in filled.rows:
            table.add_row(*(cell.text for cell in row))
        console.print(table)
        for note in filled.notes:
            console.print(f"  {note}", markup=False, highlight=False)
