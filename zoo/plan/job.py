"""A job and a plan: values, made once per command, that every engine, screen and exit code reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.result import Result
from pretrain.base.faults import Fault
from pretrain.base.identity import digest
from zoo.plan.changes import Change
from zoo.request import Request
from zoo.store import PRETRAIN, RECORD
from zoo.suites.suite import Entry, Trained

State = Literal["todo", "done", "stale", "failed", "skip"]
FULL = 6
STATES: tuple[State, ...] = ("todo", "done", "stale", "failed", "skip")


@dataclass(frozen=True)
class Job:
    """A pretraining (protocol is None) or one benchmark of one model and seed.

    trained: the seed of the model, where it is evaluated with another;
    why: of a failed or skipped job; changes: what makes it stale; note: of a job that is to be done, in
    words; identity: what its key hashes, None while that is not known (data missing, weights not trained);
    folder: where its record is or will be; weights: the backbone file, where it has one; record: of a job
    that is done or has failed.
    """

    entry: Entry
    protocol: Protocol | None
    seed: int
    state: State = "todo"
    why: Fault | None = None
    changes: tuple[Change, ...] = ()
    note: str = ""
    identity: Mapping[str, Any] | None = None
    folder: Path | None = None
    weights: Path | None = None
    record: Result | None = None
    trained: int | None = None

    @property
    def name(self) -> str:
        """The benchmark's name, or 'pretrain'."""
        return self.protocol.name if self.protocol else PRETRAIN

    @property
    def label(self) -> str:
        """Model, benchmark and, where they are not 0, its seeds."""
        return " ".join(filter(None, (self.entry.name, self.name, self.seeds)))

    @property
    def model_seed(self) -> int:
        """The seed of the pretraining."""
        return self.seed if self.trained is None else self.trained

    @property
    def seeds(self) -> str:
        """In words, the seeds that are not 0."""
        own = f"seed {self.model_seed}" if self.model_seed else ""
        return own if self.seed == self.model_seed else f"{own} evaluation {self.seed}".strip()

    @property
    def key(self) -> str:
        """Digest of the identity; '' while there is none."""
        return digest(self.identity) if self.identity is not None else ""

    @property
    def path(self) -> Path | None:
        """Where its record is or will be."""
        return self.folder / RECORD if self.folder else None

    @property
    def runnable(self) -> bool:
        """Whether there is anything that an engine can start:
        data and weights are there, nothing is skipped.
        """
        return self.folder is not None and self.state != "skip"

    @property
    def damaged(self) -> bool:
        """Whether it is to be done for no other reason than that its record cannot be believed."""
        there = self.path is not None and self.path.exists()
        return there and self.state == "todo" and self.record is None

    def runs(self, again: bool) -> bool:
        """Whether an engine has to run it; again: also what is
        done, but no weights that were given as a file.
        """
        mine = self.protocol is not None or isinstance(self.entry, Trained)
        return self.runnable and mine and (again or self.state != "done")


@dataclass(frozen=True)
class Plan:
    """Every job of a request in the order they run: each model's pretraining, then its benchmarks."""

    request: Request
    jobs: tuple[Job, ...]

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)

    def replaced(self, job: Job) -> Plan:
        """The plan with the job of the same model, benchmark and seed replaced."""
        return replace(self, jobs=tuple(job if same(old, job) else old for old in self.jobs))

    def current(self, job: Job) -> Job:
        """The job of this plan that stands for the same model, benchmark and seed."""
        return next(mine for mine in self.jobs if same(mine, job))

    def trainings_first(self) -> list[Job]:
        """Every pretraining, then the benchmarks that all processes compute together, then the others."""
        return sorted(self.jobs, key=lambda job: 0 if job.protocol is None else 2 - job.protocol.together)

    def benchmarks_of(self, pretraining: Job) -> list[Job]:
        """The benchmarks that wait for a pretraining."""
        one = (pretraining.entry.name, pretraining.seed)
        return [job for job in self.jobs if job.protocol and (job.entry.name, job.model_seed) == one]

    @property
    def code(self) -> int:
        """Exit code: 0 all asked for is there; 1 something failed (6: full disk); 4 something is missing.

        Of benchmarks asked for by name everything is needed; of all benchmarks only data, not an optional
        package.
        """
        failed = [job for job in self.jobs if job.state == "failed"]
        if failed:
            return FULL if any(job.why and job.why.reason == "disk-full" for job in failed) else 1
        skipped = [
            job.why for job in self.jobs if job.state == "skip" and job.entry.name in self.request.asked
        ]
        needed = [why for why in skipped if why and (self.request.by_name or why.reason == "data-missing")]
        return 4 if needed else 0


def same(a: Job, b: Job) -> bool:
    """Whether two jobs are of the same model, benchmark and seed."""
    return (a.entry.name, a.name, a.seed, a.model_seed) == (b.entry.name, b.name, b.seed, b.model_seed)
