"""The record of a job: begun before it, written after it, whatever happens in between."""

from __future__ import annotations

import sys
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
from benchmarks.contract.protocol import PACKAGE
from benchmarks.contract.result import Result
from benchmarks.contract.score import Score
from benchmarks.contract.task import Outcome
from pretrain.base import dist, files, process, watch
from pretrain.base.faults import Fault, Reason
from pretrain.base.settings import plain
from pretrain.base.source import source
from pretrain.data.loader import worker_killed
from pretrain.nets import checkpoint
from pretrain.nets.checkpoint import Meta
from zoo.jobs.cost import metered
from zoo.jobs.environment import environment
from zoo.plan.job import FULL, Job
from zoo.store import GIVEN
from zoo.suites.suite import METHODS, Trained

FIRST = "fault.txt"  # of several processes: the fault of the one that failed first
NO_MEMORY = "DefaultCPUAllocator"  # torch's word for it, in a RuntimeError


@dataclass
class Recording:
    """What a job gives: its scores and facts, or the fault
    that it ended with; and the record made of them.
    """

    outcome: Outcome = field(default_factory=lambda: Outcome([], {}))
    fault: Fault | None = None
    record: Result = field(init=False)


@contextmanager
def recording(job: Job, suite: str) -> Iterator[Recording]:
    """Writes the record of what the block computes: ok, or failed with reason and message. Interrupts pass
    through.

    Of several processes the first writes it. Where one fails, it writes its fault and leaves; what the others
    then see is only that it is gone, so theirs is not recorded, and all of them end.
    """
    assert job.folder is not None
    _tidy(job.folder)
    started, found, first = datetime.now(UTC), Recording(), True
    with metered(job.folder if dist.rank() == 0 else None) as meter:

        def given_up(fault: Fault) -> None:
            """Another process is silent: this one ends while it waits for it."""
            if _is_first(fault, job):
                keep(job, made(job, suite, started, fault, cost=meter.costs()))
                _say(fault)

        try:
            with watch.told(given_up):
                yield found
        except Exception as error:
            found.fault = explained(error, job.folder)
            first = dist.world_size() == 1 or _is_first(found.fault, job)
        record = made(job, suite, started, found.fault, **found.outcome._asdict(), cost=meter.costs())
        writes = first if found.fault is not None else dist.rank() == 0
        found.record = keep(job, record) if writes else record
        meter.close(done=found.record.status == "ok")
    if found.fault is not None and dist.world_size() > 1:
        if first:
            _say(found.fault)
        raise SystemExit(FULL if found.fault.reason == "disk-full" else 1)


def _say(fault: Fault) -> None:
    print(f"process {dist.rank()}: {fault.reason}: {fault}", file=sys.stderr, flush=True)


def _tidy(folder: Path) -> None:
    """Removes what an earlier sitting that was killed has left; the caller holds the lease of the job."""
    if dist.rank() == 0:
        with suppress(OSError):  # what is wrong with the folder the job itself will say
            files.sweep(folder)
            (folder / FIRST).unlink(missing_ok=True)
    dist.barrier()


def _is_first(fault: Fault, job: Job) -> bool:
    """Whether no other process has failed before this one."""
    assert job.folder is not None
    try:
        with files.explained(job.folder), (job.folder / FIRST).open("x", encoding="utf-8") as file:
            file.write(f"{fault.reason}: {fault}")
    except FileExistsError:
        return False
    except Fault:  # a full disk: better two records than none
        return True
    return True


def made(
    job: Job,
    suite: str,
    started: datetime,
    fault: Fault | None,
    scores: Sequence[Score] = (),
    facts: Mapping[str, Any] = MappingProxyType({}),
    missing: Mapping[str, str] = MappingProxyType({}),
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
        missing={} if fault else dict(missing),
        facts={} if fault else dict(facts),
        env=environment(),
        cost=dict(cost),
        time={"start": started.isoformat(), "end": datetime.now(UTC).isoformat()},
    )


def explained(error: Exception, folder: Path) -> Fault:
    """The fault that an exception is; a traceback is kept for what nobody foresaw."""
    if isinstance(error, Fault):
        return error
    if (killed := worker_killed(error)) is not None:
        return killed
    if (barred := process.barred(error)) is not None:
        return barred
    if type(error).__name__ == "OutOfMemoryError":
        said = f"the GPU ran out of memory ({error}); use a GPU with more, or a smaller batch"
        return Fault("oom-gpu", said)
    if isinstance(error, ValidationError) and error.title == Score.__name__:
        wrong = error.errors()[0]
        return Fault("nan", f"{wrong['loc'][-1]} of a score: {wrong['msg'].lower()}, got {wrong['input']}")
    if isinstance(error, MemoryError) or NO_MEMORY in str(error):
        said = str(error).rpartition(NO_MEMORY)[2].strip(" :.") or "an allocation failed"
        advice = "free some, or run where there is more"
        return Fault("oom-host", f"the machine ran out of memory ({said}); {advice}")
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
    model: dict[str, Any] = {"name": job.entry.name, "seed": job.model_seed, "method": GIVEN}
    model |= {"recipe": GIVEN, "config": GIVEN}
    if isinstance(job.entry, Trained):
        recipe = job.entry.recipe
        model |= {"method": job.entry.method, "recipe": recipe.name, "config": recipe.config or recipe.name}
    if job.weights is None:
        return model
    with suppress(Fault):  # no weights, or damaged ones: the message of the record says so
        meta = checkpoint.describe(job.weights)
        if not trained:
            model |= {"recipe": meta.recipe or GIVEN, "config": _config(meta)}
        model |= {"weights_sha256": meta.sha256, "tensors": meta.tensors, "arch": meta.arch}
    return model


def _config(meta: Meta) -> str:
    """What the Config column says of weights from elsewhere: recipe or layout, and how much was there."""
    known = meta.recipe or meta.origin.get("layout") or GIVEN
    share = meta.origin.get("share")
    return f"{known}, {share:.1%} of its weights" if share is not None else str(known)


def _protocol(job: Job) -> dict[str, Any]:
    """What a record says of the recipe or protocol that made it."""
    if job.protocol is None:
        assert isinstance(job.entry, Trained)
        recipe = job.entry.recipe
        code = source(f"{METHODS}.{job.entry.method}.method")
        settings = plain(recipe, every=True)
        return {"name": job.name, "version": recipe.version, "settings": settings, "source": code}
    p = job.protocol
    return {
        "name": p.name,
        "title": p.title,
        "version": p.version,
        "settings": plain(p.settings),
        "report_on": p.report_on,
        "choose": p.choose,
        "published": p.source,
        "source": source(f"{PACKAGE}.{p.family}.run"),
    }
