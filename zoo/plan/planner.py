"""Makes the plan: every job of a request with its state and the
reason, before anything is computed. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.contract import result
from benchmarks.contract.protocol import Protocol
from benchmarks.contract.result import Result
from pretrain.base.faults import Fault
from pretrain.base.identity import digest
from pretrain.nets import checkpoint
from pretrain.train.adapt import for_images
from pretrain.train.recipe import decisive
from zoo.plan.changes import changes
from zoo.plan.datasets import Datasets
from zoo.plan.job import Job, Plan
from zoo.request import Request
from zoo.store import GIVEN, WEIGHTS
from zoo.suites.suite import Entry, Given, Trained

MISSING = ("data-missing", "dependency-missing")  # faults that skip a job; any other fails it


class Planner:
    """Plans a request once, and judges again what has changed
    since: a pretraining that ended, a job that was done.
    """

    def __init__(self, request: Request, datasets: Datasets | None = None) -> None:
        self.request, self.store = request, request.store
        self.datasets = datasets or Datasets(request.suite, request.store.fingerprints)

    def plan(self) -> Plan:
        """All jobs in the order they run: each model's pretraining, then its benchmarks."""
        jobs = list[Job]()
        for entry, seed, evaluations in self.request.trials:
            pretraining = self.pretraining(entry, seed)
            jobs.append(pretraining)
            jobs += [self.benchmark(p, pretraining, e) for p in self.request.protocols for e in evaluations]
        return Plan(self.request, tuple(jobs))

    def judged_again(self, job: Job, plan: Plan) -> Job:
        """A job of the plan as it stands now."""
        if job.protocol is None:
            return self.pretraining(job.entry, job.seed)
        (pretraining,) = (
            j for j in plan if j.protocol is None and (j.entry, j.seed) == (job.entry, job.model_seed)
        )
        return self.benchmark(job.protocol, pretraining, job.seed)

    def after(self, ended: Job, plan: Plan) -> Plan:
        """The plan once a job has ended; the benchmarks of a
        pretraining now have weights, or a reason to have none.
        """
        plan = plan.replaced(ended)
        if ended.protocol is None:
            for waiting in plan.benchmarks_of(ended):
                assert waiting.protocol is not None
                plan = plan.replaced(self.benchmark(waiting.protocol, ended, waiting.seed))
        return plan

    def pretraining(self, entry: Entry, seed: int) -> Job:
        """The pretraining of a model; of weights that were given there is nothing to do."""
        job = Job(entry, None, seed, note="not trained yet")
        if isinstance(entry, Given):
            return self._given(job, entry)
        try:
            entry, data = self._training_data(entry)
            identity = self._run_identity(entry, seed, data)
        except Fault as fault:
            identity = self._run_identity(entry, seed, None)
            absent = {"data", "recipe"} if entry.recipe.adapts else {"data"}
            return self._recalled(job, identity, absent, fault) or self._without_data(job, fault)
        job = replace(job, entry=entry)
        folder = self.store.model(entry.name, seed, digest(identity))
        job = replace(job, identity=identity, folder=folder, weights=folder / WEIGHTS)
        job = self._judged(job)
        if job.state == "done" and not (folder / WEIGHTS).exists():
            return replace(job, state="todo", note=f"recorded, but its weights {folder / WEIGHTS} are gone")
        return job

    def _training_data(self, entry: Trained) -> tuple[Trained, str | None]:
        """The model as it adapts to what it is trained on, and the fingerprint of that. Raises Fault where
        that is missing or unfit.
        """
        if not entry.recipe.epochs:
            return entry, None
        found = self.datasets.identity(self.request.suite.pretrained_on)
        recipe, said = for_images(entry.recipe, found.images)
        recipe.fits(found.images, found.classes)
        return replace(entry, recipe=recipe, notes=(*entry.notes, *said)), found.fingerprint

    def _run_identity(self, entry: Trained, seed: int, data: str | None) -> dict[str, Any]:
        """What decides the weights of a model."""
        return {"method": entry.method, "recipe": decisive(entry.recipe), "seed": seed, "data": data}

    def _given(self, job: Job, entry: Given) -> Job:
        """Weights that are a file: named now, or remembered by the records of an earlier call."""
        if entry.path is not None:
            checkpoint.describe(entry.path)
            return replace(job, state="done", note=f"given: {entry.path}", weights=entry.path)
        records = [r for _, r in self.store.results(entry.name) if r.model.get("method") == GIVEN]
        newest = max(records, key=lambda r: r.time.get("end", ""), default=None)
        return replace(job, state="done", note="given in an earlier call", record=newest)

    def benchmark(self, protocol: Protocol, pretraining: Job, seed: int) -> Job:
        """A benchmark of the model of a pretraining, with a seed of its own."""
        job = Job(pretraining.entry, protocol, seed, note="after pretraining", trained=pretraining.seed)
        known = arch(pretraining)
        if known and (unfit := protocol.unfit(known)) is not None:
            return replace(job, state="skip", why=unfit)
        data, lacking = self._data_or_fault(protocol)
        try:
            weights = weights_identity(pretraining)
        except Fault as fault:
            return replace(job, state="failed", why=fault)
        if weights is None:
            return self._waiting(job, pretraining, lacking)
        identity = {**weights, "data": data, "seed": job.seed, **protocol.rule()}
        if lacking is not None:
            return self._recalled(job, identity, {"data", "packages"}, lacking) or self._without_data(
                job, lacking
            )
        return self._known(replace(job, note="not computed yet"), identity, pretraining)

    def _known(self, job: Job, identity: dict[str, Any], pretraining: Job) -> Job:
        """A benchmark whose identity is known, as its record says; or what it needs first."""
        assert job.protocol is not None
        folder = self.store.benchmark(job.entry.name, job.name, digest(identity))
        unavailable = job.protocol.unavailable
        job = self._judged(replace(job, identity=identity, folder=folder, weights=pretraining.weights))
        if job.state == "done":
            return job
        if (why := unavailable()) is not None:
            skipped = replace(job, state="skip", why=why)
            return self._recalled(job, identity, {"packages"}, why) or skipped
        return job if pretraining.state == "done" else self._waiting(job, pretraining, None)

    def _waiting(self, job: Job, pretraining: Job, lacking: Fault | None) -> Job:
        """A benchmark without weights: it waits for them, or shares the reason why they never come."""
        if lacking is not None:
            return self._without_data(job, lacking)
        if pretraining.state not in ("failed", "skip"):
            return Job(job.entry, job.protocol, job.seed, note="after pretraining", trained=job.trained)
        why = pretraining.why
        assert why is not None
        said = f"pretraining failed: {why}" if pretraining.state == "failed" else f"no weights: {why}"
        return replace(job, state=pretraining.state, why=Fault(why.reason, said))

    def _recalled(self, job: Job, identity: dict[str, Any], absent: set[str], why: Fault) -> Job | None:
        """The job with its newest record, where that differs only in parts that are not here to be compared.

        A finished zoo can so be read without its data, and without the packages that it was made with. Data
        that are here but wrong are no excuse.
        """
        if why.reason not in MISSING:
            return None
        protocol = job.protocol.name if job.protocol else None
        for path, record in reversed(self.store.of(job.entry.name, protocol, job.seed, job.model_seed)):
            theirs = {part: record.identity.get(part) for part in absent}
            if record.status == "ok" and record.identity == {**identity, **theirs} and _own(path, record):
                weights = path / WEIGHTS if protocol is None else job.weights
                return replace(
                    job,
                    state="done",
                    note="recorded; what it was computed from is not here now",
                    identity=record.identity,
                    folder=path,
                    weights=weights if weights and weights.exists() else None,
                    record=record,
                )
        return None

    def _data_or_fault(self, protocol: Protocol) -> tuple[dict[str, str] | None, Fault | None]:
        """What `_data` says, or why it cannot."""
        try:
            return self._data(protocol), None
        except Fault as fault:
            return None, fault

    def _data(self, protocol: Protocol) -> dict[str, str]:
        """Fingerprints of all that a protocol reads, by role or data set. Raises Fault."""
        splits = {
            role: self.datasets.identity(reference).fingerprint for role, reference in protocol.data.items()
        }
        self.datasets.require_same_classes(protocol.data)
        self.datasets.require_two_classes(protocol.data)
        return splits | {name: self.datasets.tree(name, protocol).fingerprint for name in protocol.roots}

    def _without_data(self, job: Job, fault: Fault) -> Job:
        """A job whose data cannot be read: skipped where they are
        missing, failed where they are there but wrong.
        """
        if not self.request.suite.drawn():
            return replace(job, note="once the embedded scenes are drawn")
        return replace(job, state="skip" if fault.reason in MISSING else "failed", why=fault)

    def _judged(self, job: Job) -> Job:
        """The job with its state, from the record under its key and the records under other keys."""
        assert job.path is not None
        if job.path.exists():
            return _by_its_record(job, job.path)
        protocol = job.protocol.name if job.protocol else None
        older = [record for _, record in self.store.of(job.entry.name, protocol, job.seed, job.model_seed)]
        if older:
            differing = tuple(changes(older[-1].identity, dict(job.identity or {})))
            return replace(job, state="stale", changes=differing, note="changed since the last record")
        return job


def _by_its_record(job: Job, path: Path) -> Job:
    """The job with the state that the record at its path
    says; a record is believed only under its own key.
    """
    try:
        record = result.read(path)
        if record.key != job.key or record.identity != job.identity:
            raise Fault("data-corrupt", f"{path} is the record of another job; delete it to compute it again")
    except Fault as fault:
        return replace(job, note=f"its record is damaged: {fault}")
    return ended(job, record)


def ended(job: Job, record: Result) -> Job:
    """The job as its record says it ended."""
    if record.status == "ok":
        return replace(job, state="done", note="recorded", why=None, changes=(), record=record)
    why = Fault(record.reason or "internal", record.message or "")
    return replace(job, state="failed", why=why, changes=(), record=record)


def _own(folder: Path, record: Result) -> bool:
    """Whether a record lies where its own identity puts it."""
    return record.key == digest(record.identity) and folder.name.endswith(record.key)


def arch(pretraining: Job) -> str:
    """The architecture of a model, as its recipe, its file or its newest record says; '' where none does."""
    if isinstance(pretraining.entry, Trained):
        return pretraining.entry.recipe.arch
    with suppress(Fault):
        return str((weights_identity(pretraining) or {}).get("arch", ""))
    return ""


def weights_identity(pretraining: Job) -> Mapping[str, Any] | None:
    """What of a model's weights decides a number; None while there are none. Raises Fault on a damaged file.

    Where the file is not here, as the record of the pretraining says; of a given file, as its newest record.
    """
    if pretraining.weights is not None and pretraining.weights.exists() and pretraining.state == "done":
        return checkpoint.describe(pretraining.weights).identity()
    record = pretraining.record
    if isinstance(pretraining.entry, Given):
        if record is None:
            said = f"the weights of {pretraining.entry.name} are a file of yours; name it with --checkpoint"
            raise Fault("data-missing", said)
        return {name: record.identity.get(name) for name in ("weights", "arch", "input")}
    if record is None or record.status != "ok":
        return None
    found = record.facts.get("weights")
    return found if isinstance(found, dict) else None
