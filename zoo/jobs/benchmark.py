"""Carries out a benchmark in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.contract import pictures
from benchmarks.contract.protocol import Protocol
from benchmarks.contract.task import Outcome, Task
from benchmarks.mm.bridge import keep
from benchmarks.pictures.kept import take
from pretrain.base import dist, files
from pretrain.base.faults import Fault
from pretrain.base.numerics import numerics
from pretrain.data.classes import require_same_classes
from pretrain.nets import checkpoint
from zoo.jobs.alarms import alarms
from zoo.jobs.place import Place
from zoo.plan.job import Job
from zoo.suites.suite import Trained


def run(job: Job, place: Place) -> Outcome:
    """The outcome of a protocol on a model's weights. Raises Fault where a frozen backbone was changed, or
    weights or data are not those that were planned.
    """
    assert job.folder is not None
    task = _opened(job, place)
    carry_out = task.protocol.load()
    with numerics(task.protocol.numerics):
        outcome = carry_out(task)
    with _forgetting(task.work, place):
        _require_planned(job, place)
    _require_frozen(job, task)
    if dist.rank() == 0:
        _require_shown(task.protocol, outcome)
    dist.barrier()
    more = _more_facts(job, task, place)  # before what was trained goes: a kill would cost all of it
    if dist.rank() == 0:
        take(task.work, job.folder, (pictures.FOLDER, keep.FOLDER))
        shutil.rmtree(task.work)
    return outcome._replace(facts={**outcome.facts, **more})


def _opened(job: Job, place: Place) -> Task:
    """A job's weights and data, as they were planned, and a folder to work in. Raises Fault."""
    protocol, path, folder = job.protocol, job.weights, job.folder
    assert protocol is not None
    assert path is not None
    assert folder is not None
    assert job.identity is not None
    backbone = checkpoint.load(path) if place.backbone is None else place.backbone
    backbone = backbone.to(place.device).to(memory_format=torch.channels_last)
    splits = {role: place.datasets.split(reference) for role, reference in protocol.data.items()}
    require_same_classes(splits)
    _require_planned(job, place)
    work = folder / "work"
    with files.explained(work):
        files.for_results(folder)
        work.mkdir(parents=True, exist_ok=True)
    return Task(
        protocol=protocol,
        checkpoint=path,
        backbone=backbone,
        splits=splits,
        fingerprints={role: job.identity["data"][role] for role in protocol.data},
        roots={name: place.suite.folder(name) for name in protocol.roots},
        work=work,
        cache=place.store.features,
        seed=job.seed,
        device=place.device,
        report=place.report,
    )


def _more_facts(job: Job, task: Task, place: Place) -> dict[str, Any]:
    """How many images were left out of each role's split, and what makes the number doubtful."""
    excluded = {role: split.excluded for role, split in task.splits.items() if split.excluded}
    more: dict[str, Any] = {"images_left_out": excluded} if excluded else {}
    told = checkpoint.describe(task.checkpoint).origin.get("warnings", [])
    before = place.suite.pretrained_on if isinstance(job.entry, Trained) and job.entry.recipe.epochs else None
    found = alarms(task.protocol, task.backbone, task.splits, place.datasets, place.device, before)
    if doubts := [*told, *found]:
        more["alarms"] = doubts
    return more


def _require_frozen(job: Job, task: Task) -> None:
    """Raises Fault where a protocol of frozen features has changed the backbone."""
    assert job.identity is not None
    if not task.protocol.frozen:
        return
    if checkpoint.weights_hash(task.backbone.state_dict()) != job.identity["weights"]:
        said = f"{job.name} changed the backbone that it must keep frozen; its numbers are void"
        raise Fault("internal", said)


def _require_planned(job: Job, place: Place) -> None:
    """Raises Fault where the file of the weights, or the data, are not those that were planned."""
    assert job.protocol is not None
    assert job.weights is not None
    assert job.identity is not None
    planned, found = str(job.identity["weights"]), checkpoint.describe(job.weights).sha256
    if found != planned:
        said = f"{job.weights} changed since this job was planned: expected weights {planned[:12]}"
        advice = "run again, with a copy of the file where something writes to it"
        raise Fault("weights-mismatch", f"{said}, found {found[:12]}; {advice}")
    place.datasets.require_planned(job.identity["data"], job.protocol)


def _require_shown(protocol: Protocol, outcome: Outcome) -> None:
    """Raises Fault where no column of the protocol's table shows any of what it found."""
    given = {*(score.name for score in outcome.scores), *outcome.missing}
    if given.isdisjoint(shown := [column.score for column in protocol.columns]):
        said = f"run.py gives {', '.join(sorted(given)) or 'no score'}, columns show {', '.join(shown)}"
        raise Fault("internal", f"protocol {protocol.name}: {said}; name the scores alike")


@contextmanager
def _forgetting(work: Path, place: Place) -> Iterator[None]:
    """Where weights or data changed on the way, what was computed of them is nothing to go on from: features
    may be kept as those of the new file.
    """
    try:
        yield
    except Fault:
        shutil.rmtree(work, ignore_errors=True)
        place.store.forget_caches()
        raise
