"""The plan: every job of a call with its state and the reason, decided before anything is computed. No torch here."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from benchmarks import result
from benchmarks.protocol import Protocol
from benchmarks.result import Result
from pretrain import checkpoint
from pretrain.faults import Fault
from pretrain.recipe import facts, key
from pretrain.split import Split, tree_fingerprint
from zoo.suite import WHOLE, Entry, Suite, drawn

State = Literal["todo", "done", "stale", "failed", "skip"]
GIVEN = "given"  # the method of a model whose weights are a file named on the command line
MISSING = ("data-missing", "dependency-missing")  # faults that skip a job; any other fails it


@dataclass(frozen=True)
class Job:
    """A pretraining (protocol is None) or one benchmark of one model and seed.

    path: where its record is or will be (None while the weights are not known); parts: what its key hashes.
    """

    entry: Entry
    protocol: Protocol | None
    seed: int
    state: State
    reason: str
    path: Path | None = None
    parts: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.protocol.name if self.protocol else "pretrain"

    @property
    def key(self) -> str:
        return digest(self.parts)


def digest(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


class Planner:
    """Plans jobs of one suite in one folder. Splits are read once and shared by all of its questions."""

    def __init__(self, suite: Suite, home: Path, given: Path | None = None) -> None:
        self.suite, self.home, self.given = suite, home, given
        self._splits: dict[str, Split | Fault] = {}
        self._prints: dict[str, str] = {}

    def jobs(self, entries: list[Entry], protocols: list[Protocol], seeds: list[int]) -> list[Job]:
        """All jobs in the order they run: each model's pretraining, then its benchmarks."""
        found = []
        for entry in entries:
            for seed in seeds:
                pretraining = self.pretraining(entry, seed)
                found.append(pretraining)
                found += [self.benchmark(entry, protocol, seed, pretraining) for protocol in protocols]
        return found

    def split(self, reference: str | Path) -> Split:
        """A split of the suite. Raises Fault."""
        name = str(reference)
        if name not in self._splits:
            try:
                self._splits[name] = self.suite.split(reference)
            except Fault as fault:
                self._splits[name] = fault
        found = self._splits[name]
        if isinstance(found, Fault):
            raise found
        return found

    def fingerprint(self, reference: str | Path) -> str:
        """Of a split, or of all annotation files and file names of a data set that is read as a whole."""
        name = str(reference)
        if name not in self._prints:
            self._prints[name] = self.split(reference).fingerprint()
        return self._prints[name]

    def weights(self, entry: Entry, seed: int) -> Path:
        """Where the backbone of a model is or will be."""
        if entry.method != GIVEN:
            return self.model_folder(entry, seed) / "backbone.safetensors"
        if self.given is None:
            raise Fault("data-missing", f"the weights of {entry.name} are a file of yours; name it with --checkpoint")
        return self.given

    def config(self, entry: Entry) -> str:
        """Name of the recipe of a model; of a given file, the one in its header, or 'given'."""
        if entry.method != GIVEN:
            return entry.recipe.name
        if self.given is not None:
            return origin(checkpoint.describe(self.given))
        found = newest_given(self.home, entry.name)
        return str(found.model["recipe"]) if found else GIVEN

    def _identity(self, entry: Entry, seed: int) -> dict[str, Any]:
        """What of the weights decides a number; of a given file that is not named now, as its newest record says."""
        found = newest_given(self.home, entry.name) if entry.method == GIVEN and self.given is None else None
        if found is None:
            return result.weights_identity(checkpoint.describe(self.weights(entry, seed)))
        return {name: found.facts["parts"].get(name) for name in ("weights", "arch", "input")}

    def model_folder(self, entry: Entry, seed: int) -> Path:
        return self.home / "models" / f"{entry.name}-s{seed}-{self._recipe_key(entry, seed)[:12]}"

    def _recipe_key(self, entry: Entry, seed: int) -> str:
        data = self.fingerprint(self.suite.images) if entry.recipe.epochs else None
        return key(entry.recipe, seed=seed, data=data, method=entry.method)

    def pretraining(self, entry: Entry, seed: int) -> Job:
        job = Job(entry, None, seed, "todo", "not trained yet")
        if entry.method == GIVEN:
            if self.given is not None:
                checkpoint.describe(self.given)
            return replace(job, state="done", reason=f"given: {self.given or 'in an earlier call'}")
        try:
            parts = {"recipe": facts(entry.recipe), "seed": seed, "key": self._recipe_key(entry, seed)}
            path = self.model_folder(entry, seed) / "result.json"
        except Fault as fault:
            return self._without_data(job, fault)
        job = replace(job, path=path, parts=parts)
        others = self.home.glob(f"models/{entry.name}-s{seed}-*/result.json")
        job = self._judged(job, [other for other in others if other != path])
        if job.state == "done" and not (weights := self.weights(entry, seed)).exists():
            return replace(job, state="todo", reason=f"recorded, but its weights {weights} are gone")
        return job

    def benchmark(self, entry: Entry, protocol: Protocol, seed: int, pretraining: Job) -> Job:
        job = Job(entry, protocol, seed, "todo", "after pretraining")
        if (why := protocol.unavailable()) is not None:
            return replace(job, state="skip", reason=why)
        try:
            data = {role: self.fingerprint(reference) for role, reference in protocol.data.items()}
            data |= {name: self.tree(name) for name in protocol.roots}
        except Fault as fault:
            return self._without_data(job, fault)
        if pretraining.state == "failed":
            return replace(
                job, state="failed", reason=re.sub("^failed( before)?", "pretraining failed", pretraining.reason)
            )
        if pretraining.state == "skip":
            return replace(job, state="skip", reason=f"no weights: pretraining is skipped ({pretraining.reason})")
        others = list(self.home.glob(f"results/{entry.name}/*/{protocol.name}/*/result.json"))
        if pretraining.state != "done":
            return replace(job, reason=f"after pretraining{' (an older record exists)' if others else ''}")
        try:
            weights = self._identity(entry, seed)
        except Fault as fault:
            return replace(job, state="failed", reason=f"failed ({fault.reason}): {fault}")
        parts = {**weights, "data": data, "seed": seed, **_rule(protocol)}
        folder = self.home / "results" / entry.name / parts["weights"][:12] / protocol.name / digest(parts)
        job = replace(job, path=folder / "result.json", parts=parts, reason="not computed yet")
        return self._judged(job, [other for other in others if other != job.path])

    def _without_data(self, job: Job, fault: Fault) -> Job:
        """A job whose data cannot be read: skipped where they are missing, failed where they are there but wrong."""
        if not drawn(self.suite):
            return replace(job, reason="once the embedded scenes are drawn")
        if fault.reason not in MISSING:
            return replace(job, state="failed", reason=f"failed ({fault.reason}): {fault}")
        return replace(job, state="skip", reason=f"{fault.reason}: {fault}")

    def tree(self, dataset: str) -> str:
        """Names and sizes of every file of a data set that a foreign trainer reads from its folder."""
        name = f"tree:{dataset}"
        if name not in self._prints:
            self._prints[name] = tree_fingerprint(self.suite.folder(dataset), WHOLE[dataset])
        return self._prints[name]

    def _judged(self, job: Job, others: list[Path]) -> Job:
        """The job with its state, from the record under its key and the records under other keys."""
        assert job.path is not None
        if job.path.exists():
            try:
                found = result.read(job.path)
            except Fault as fault:
                return replace(job, reason=f"its record is damaged: {fault}")
            if found.status == "ok":
                return replace(job, state="done", reason="recorded")
            return replace(job, state="failed", reason=f"failed before ({found.reason}): {found.message}")
        old = [record for record in map(readable, others) if record is not None and record.seed == job.seed]
        if old:
            newest = max(old, key=lambda record: record.time["end"])
            changed = ", ".join(difference(newest.facts.get("parts", {}), job.parts)) or "other weights"
            return replace(job, state="stale", reason=f"changed since the last record: {changed}")
        return job


def origin(meta: checkpoint.Meta) -> str:
    """Name of the recipe that made a weights file, or 'given' where its header does not say."""
    return str(meta.origin.get("recipe", GIVEN))


def newest_given(home: Path, name: str) -> Result | None:
    """The newest benchmark record of a model whose weights were given as a file; None where there is none."""
    found = [
        record for path in home.glob(f"results/{name}/*/*/*/result.json") if (record := readable(path)) is not None
    ]
    given = [record for record in found if record.model.get("method") == GIVEN and "parts" in record.facts]
    return max(given, key=lambda record: record.time["end"], default=None)


def readable(path: Path) -> Result | None:
    """The record at a path; None where there is none or it is damaged."""
    try:
        return result.read(path)
    except (Fault, FileNotFoundError):
        return None


def _rule(protocol: Protocol) -> dict[str, Any]:
    """What of a protocol decides its number."""
    return {
        "protocol": protocol.name,
        "version": protocol.version,
        "settings": facts(protocol.settings),
        "reads": dict(protocol.data),
        "packages": {name: version(name) for name in protocol.packages},
    }


def version(package: str) -> str | None:
    """Of an installed package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def difference(old: Any, new: Any, at: str = "") -> list[str]:
    """Sentences `path: old -> new` for every value that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [line for k in keys for line in difference(old.get(k), new.get(k), f"{at}.{k}".lstrip("."))]
    return [] if old == new else [f"{at}: {_brief(old)} -> {_brief(new)}"]


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
