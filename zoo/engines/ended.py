"""The record of a job whose process ended without leaving one."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import result
from benchmarks.result import Result
from pretrain.faults import Fault, Reason
from zoo.engines.inline import protocol_of
from zoo.plan import Job, readable


def leave(job: Job, suite: str, code: int, started: datetime, log: Path) -> None:
    """Writes a failed record for a job whose process ended with `code`, unless the process left one itself.

    code: as of Popen, below 0 or above 128 for a signal (killed), else of a crash (worker-crash). A full disk is
    passed over: what is printed says the same.
    """
    assert job.path is not None
    found = readable(job.path)
    if found is not None and (found.status == "ok" or datetime.fromisoformat(found.time["end"]) >= started):
        return
    reason, ended = _how(code)
    record = Result(
        key=job.key,
        suite=suite,
        status="failed",
        reason=reason,
        message=f"its process {ended} and left no record; see {log}",
        model={"name": job.entry.name, "recipe": job.entry.recipe.name, "method": job.entry.method},
        protocol=protocol_of(job),
        data=job.parts.get("data", {}),
        seed=job.seed,
        metrics=[],
        facts={"parts": job.parts},
        env={},
        cost={},
        time={"start": started.isoformat(), "end": datetime.now(UTC).isoformat()},
    )
    try:
        result.write(job.path, record)
    except Fault:
        return


def _how(code: int) -> tuple[Reason, str]:
    number = -code if code < 0 else code - 128
    if number in set(signal.Signals):
        return "killed", f"was killed by signal {number} ({signal.Signals(number).name})"
    return "worker-crash", f"ended with exit code {code}"
