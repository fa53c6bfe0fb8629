"""The record of a job: begun before it, written after it, whatever happens in between."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from benchmarks.contract import result
from benchmarks.contract.result import Result
from benchmarks.contract.score import Score
from pretrain.base import dist
from pretrain.base.faults import Fault, Reason
from pretrain.base.settings import plain
from pretrain.nets import checkpoint
from zoo.jobs.environment import environment, memory
from zoo.plan.job import Job
from zoo.store import GIVEN
from zoo.suites.suite import Trained


@dataclass
class Recording:
    """What a job gives: its scores and facts, or the fault
    that it ended with; and the record made of them.
    """

    outcome: tuple[Sequence[Score], Mapping[str, Any]] = ((), MappingProxyType({}))
    fault: Fault | None = None
    record: Result = field(init=False)


@contextmanager
def recording(job: Job, suite: str) -> Iterator[Recording]:
    """Writes the record of what the block computes: ok, or failed with reason and message. Interrupts pass
    through.

    Of several processes the first writes it, and a fault goes on through all of them, so that none waits for
    another.
    """
    assert job.folder is not None
    started, clock, found = datetime.now(UTC), time.perf_counter(), Recording()
    try:
        yield found
    except Exception as error:
        found.fault = explained(error, job.folder)
    record = made(
        job, suite, started, found.fault, *found.outcome, cost={"wall_s": time.perf_counter() - clock}
    )
    found.record = keep(job, record) if dist.rank() == 0 else record
    if found.fault is not None and dist.world_size() > 1:
        raise found.fault


def made(
    job: Job,
    suite: str,
    started: datetime,
    fault: Fault | None,
    scores: Sequence[Score] = (),
    facts: Mapping[str, Any] = MappingProxyType({}),
    cost: Mapping[str, float] = MappingProxyType({}),
) -> Result:
    """The record of a job that ends now; of one that has failed, without scores."""
    return Result(
        key=job.key,
        suite=suite,
        status="failed" if fault else "ok",
        reason=fault.reason if fault else None,
        message=str(fault) if fault else None,
        model=_model(job),
        protocol=_protocol(job),
        identity=dict(job.identity or {}),
        seed=job.seed,
        metrics=[] if fault else list(scores),
        facts={} if fault else dict(facts),
        env=environment(),
        cost={**cost, **memory()},
        time={"start": started.isoformat(), "end": datetime.now(UTC).isoformat()},
    )


def explained(error: Exception, folder: Path) -> Fault:
    """The fault that an exception is; a traceback is kept for what nobody foresaw."""
    if isinstance(error, Fault):
        return error
    if type(error).__name__ == "OutOfMemoryError":
        said = f"the GPU ran out of memory ({error}); use a GPU with more, or a smaller batch"
        return Fault("oom-gpu", said)
    if isinstance(error, ValidationError) and error.title == Score.__name__:
        wrong = error.errors()[0]
        return Fault("nan", f"{wrong['loc'][-1]} of a score: {wrong['msg'].lower()}, got {wrong['input']}")
    if isinstance(error, MemoryError):
        return Fault("oom-host", f"the machine ran out of memory ({error})")
    reason: Reason = "internal"
    message = f"{type(error).__name__}: {error}"
    with suppress(OSError):  # a full disk: the sentence alone has to do
        (folder / "traceback.txt").write_text("".join(traceback.format_exception(error)))
        message += f" (traceback: {folder / 'traceback.txt'})"
    return Fault(reason, message)


def keep(job: Job, record: Result) -> Result:
    """The record, written to the job's folder; where it cannot be written, a failed one that says why."""
    assert job.path is not None
    try:
        result.write(job.path, record)
    except Fault as fault:
        why = (
            str(fault)
            if record.status == "ok"
            else f"{record.message}; and its record could not be kept: {fault}"
        )
        reason = fault.reason if record.status == "ok" else record.reason
        return record.model_copy(update={"status": "failed", "reason": reason, "message": why})
    return record


def _model(job: Job) -> dict[str, Any]:
    """What a record says of the model: its names, and its weights where there are some."""
    trained = isinstance(job.entry, Trained)
    model: dict[str, Any] = {"name": job.entry.name, "method": GIVEN, "recipe": GIVEN, "config": GIVEN}
    if isinstance(job.entry, Trained):
        recipe = job.entry.recipe
        model |= {"method": job.entry.method, "recipe": recipe.name, "config": recipe.config or recipe.name}
    if job.weights is None:
        return model
    with suppress(Fault):  # no weights, or damaged ones: the message of the record says so
        meta = checkpoint.describe(job.weights)
        if not trained:
            model |= {"recipe": meta.recipe or GIVEN, "config": meta.recipe or GIVEN}
        model |= {"weights_sha256": meta.sha256, "tensors": meta.tensors, "arch": meta.arch}
    return model


def _protocol(job: Job) -> dict[str, Any]:
    """What a record says of the recipe or protocol that made it."""
    if job.protocol is None:
        assert isinstance(job.entry, Trained)
        recipe = job.entry.recipe
        return {"name": job.name, "version": recipe.version, "settings": plain(recipe)}
    p = job.protocol
    return {
        "name": p.name,
        "title": p.title,
        "version": p.version,
        "settings": plain(p.settings),
        "report_on": p.report_on,
        "choose": p.choose,
        "source": p.source,
    }
