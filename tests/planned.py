"""A plan's jobs on a few images, and the records that finished ones would leave."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contract import result
from benchmarks.contract.score import Score
from pretrain.base.faults import Fault
from pretrain.base.settings import changed as changed_settings
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from zoo.jobs.record import made
from zoo.plan.job import Job, Plan
from zoo.plan.planner import Planner
from zoo.request import Request, Trial
from zoo.store import Store
from zoo.suites.suite import Entry, Suite, Trained

PROTOCOLS = ("imagenet_linear", "imagenet_knn", "clustering")


def request(suite: Suite, home: Path, *entries: Entry, seeds: tuple[int, ...] = (0,)) -> Request:
    """Every benchmark of a suite for ODC, or for other entries."""
    models = entries or (suite.entry("odc"),)
    asked = frozenset(entry.name for entry in models)
    trials = tuple(Trial(model, seed, (seed,)) for model in models for seed in seeds)
    return Request(suite, Store(home), trials, tuple(suite.catalogue().values()), asked)


def plan(suite: Suite, home: Path) -> Plan:
    """The plan of ODC, made anew."""
    return Planner(request(suite, home)).plan()


def jobs(suite: Suite, home: Path) -> dict[str, Job]:
    """Its jobs by name."""
    return {job.name: job for job in plan(suite, home)}


def pretend(job: Job, suite: Suite, fault: Fault | None = None) -> None:
    """Leaves the record, and the weights, that a job would leave when it ends."""
    from datetime import UTC, datetime

    assert job.path is not None
    facts: dict[str, object] = {}
    if job.protocol is None and isinstance(job.entry, Trained):
        recipe = job.entry.recipe
        backbone = build(recipe.arch, recipe.input, 0)
        weights = job.path.parent / "backbone.safetensors"
        checkpoint.save(weights, backbone, recipe.arch, {})
        facts = {"weights": checkpoint.describe(weights).identity()}
    scores = [Score("top1", 1.0, 1, "val")]
    result.write(job.path, made(job, suite.name, datetime.now(UTC), fault, scores, facts))


def finish(suite: Suite, home: Path) -> None:
    """Leaves the records of all of ODC's jobs."""
    pretend(jobs(suite, home)["pretrain"], suite)
    for name in PROTOCOLS:
        pretend(jobs(suite, home)[name], suite)


def changed(suite: Suite, name: str, **fields: object) -> Suite:
    """The suite with settings of a model or benchmark overridden."""
    mine = {**suite.overrides.get(name, {}), **fields}
    return changed_settings(suite, overrides={**suite.overrides, name: mine})
