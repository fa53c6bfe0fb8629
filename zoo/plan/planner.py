"""Makes the plan: every job of a request with its state and the
reason, before anything is computed. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.contract import result
from benchmarks.contract.protocol import Protocol
from benchmarks.contract.result import Result
from pretrain.base.faults import Fault
from pretrain.base.identity import digest
from pretrain.base.settings import plain
from pretrain.nets import checkpoint
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

    def __init__(self, request: Request) -> None:
        self.request, self.store = request, request.store
        self.datasets = Datasets(request.suite, request.store.fingerprints)

    def plan(self) -> Plan:
        """All jobs in the order they run: each model's pretraining, then its benchmarks."""
        jobs = list[Job]()
        for entry in self.request.entries:
            for seed in self.request.seeds:
                pretraining = self.pretraining(entry, seed)
                jobs += [pretraining, *(self.benchmark(p, pretraining) for p in self.request.protocols)]
        return Plan(self.request, tuple(jobs))

    def judged_again(self, job: Job, plan: Plan) -> Job:
        """A job of the plan as it stands now."""
        if job.protocol is None:
            return self.pretraining(job.entry, job.seed)
        (pretraining,) = (
            j for j in plan if j.protocol is None and (j.entry, j.seed) == (job.entry, job.seed)
        )
        return self.benchmark(job.protocol, pretraining)

    def after(self, ended: Job, plan: Plan) -> Plan:
        """The plan once a job has ended; the benchmarks of a
        pretraining now have weights, or a reason to have none.
        """
        plan = plan.replaced(ended)
        if ended.protocol is None:
            for waiting in plan.benchmarks_of(ended):
                assert waiting.protocol is not None
                plan = plan.replaced(self.benchmark(waiting.protocol, ended))
        return plan

    def pretraining(self, entry: Entry, seed: int) -> Job:
        """The pretraining of a model; of weights that were given there is nothing to do."""
        job = Job(entry, None, seed, note="not trained yet")
        if isinstance(entry, Given):
            return self._given(job, entry)
        try:
            identity = self._run_identity(entry, seed)
        except Fault as fault:
            return self._without_data(job, fault)
        folder = self.store.model(entry.name, seed, digest(identity))
        job = replace(job, identity=identity, folder=folder, weights=folder / WEIGHTS)
        job = self._judged(job)
        if job.state == "done" and not (folder / WEIGHTS).exists():
            return replace(job, state="todo", note=f"recorded, but its weights {folder / WEIGHTS} are gone")
        return job

    def _run_identity(self, entry: Trained, seed: int) -> dict[str, Any]:
        """What decides the weights of a model. Raises Fault where
        its data are missing or do not fit the recipe.
        """
        data = None
        if entry.recipe.epochs:
            found = self.datasets.identity(self.request.suite.pretrained_on)
            entry.recipe.fits(found.images, found.classes)
            data = found.fingerprint
        return {"method": entry.method, "recipe": decisive(entry.recipe), "seed": seed, "data": data}

    def _given(self, job: Job, entry: Given) -> Job:
        """Weights that are a file: named now, or remembered by the records of an earlier call."""
        if entry.path is not None:
            checkpoint.describe(entry.path)
            return replace(job, state="done", note=f"given: {entry.path}", weights=entry.path)
        records = [r for _, r in self.store.results(entry.name) if r.model.get("method") == GIVEN]
        newest = max(records, key=lambda r: r.time.get("end", ""), default=None)
        return replace(job, state="done", note="given in an earlier call", record=newest)

    def benchmark(self, protocol: Protocol, pretraining: Job) -> Job:
        """A benchmark of the model of a pretraining."""
        job = Job(pretraining.entry, protocol, pretraining.seed, note="after pretraining")
        try:
            data = self._data(protocol)
        except Fault as fault:
            return self._without_data(job, fault)
        if pretraining.state == "failed":
            assert pretraining.why is not None
            said = f"pretraining failed: {pretraining.why}"
            return replace(job, state="failed", why=Fault(pretraining.why.reason, said))
        if pretraining.state == "skip":
            assert pretraining.why is not None
            return replace(
                job, state="skip", why=Fault(pretraining.why.reason, f"no weights: {pretraining.why}")
            )
        if pretraining.state != "done":
            return job
        try:
            weights = weights_identity(pretraining)
        except Fault as fault:
            return replace(job, state="failed", why=fault)
        identity = {**weights, "data": data, "seed": job.seed, **rule(protocol)}
        folder = self.store.benchmark(job.entry.name, protocol.name, digest(identity))
        job = replace(
            job, identity=identity, folder=folder, weights=pretraining.weights, note="not computed yet"
        )
        job = self._judged(job)
        if job.state != "done" and (why := protocol.unavailable()) is not None:
            return replace(job, state="skip", why=why)
        return job

    def _data(self, protocol: Protocol) -> dict[str, str]:
        """Fingerprints of all that a protocol reads, by role or data set. Raises Fault."""
        splits = {
            role: self.datasets.identity(reference).fingerprint for role, reference in protocol.data.items()
        }
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
        older = [record for _, record in self.store.of(job.entry.name, protocol, job.seed)]
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


def weights_identity(pretraining: Job) -> Mapping[str, Any]:
    """What of a model's weights decides a number; of a file
    that is not named now, as its newest record says.
    """
    if pretraining.weights is not None:
        return checkpoint.describe(pretraining.weights).identity()
    if pretraining.record is None:
        said = f"the weights of {pretraining.entry.name} are a file of yours; name it with --checkpoint"
        raise Fault("data-missing", said)
    return {name: pretraining.record.identity.get(name) for name in ("weights", "arch", "input")}


def rule(protocol: Protocol) -> dict[str, Any]:
    """What of a protocol decides its number."""
    return {
        "protocol": protocol.name,
        "version": protocol.version,
        "settings": plain(protocol.settings),
        "packages": {name: version(name) for name in protocol.packages},
    }


def version(package: str) -> str | None:
    """Of an installed package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
