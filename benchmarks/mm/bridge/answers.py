"""What a worker process answers, as files in its job's folder.

They are read strictly, because whoever may write into the folder may have written them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from benchmarks.mm.bridge.job import first
from pretrain.base.faults import Fault, Reason, printable

LARGEST = 64 << 20  # bytes of an answer; most have a few hundred
LINE = 200  # characters of a line of progress that are shown
_RULES = ConfigDict(extra="forbid", allow_inf_nan=False)

Steps = Annotated[int, Field(ge=0, le=10**12)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]


@dataclass(frozen=True, config=_RULES)
class Progress:
    """A line of progress. eta: seconds that are left, None where nobody can say."""

    done: Steps
    total: Steps
    eta: Seconds | None
    line: str


@dataclass(frozen=True, config=_RULES)
class Told:
    """A fault of the worker; crash: it is the end of a traceback."""

    reason: Reason
    message: str
    crash: bool = False


_PROGRESS, _TOLD = TypeAdapter(Progress), TypeAdapter(Told)
_RECORD = TypeAdapter(dict[str, JsonValue])


def progress(line: bytes, path: Path) -> Progress:
    """A line of progress.jsonl. One that is none becomes a line that says so: it is no reason to stop."""
    try:
        return _PROGRESS.validate_json(line)
    except ValidationError as error:
        return Progress(0, 0, None, f"{path} holds what is no line of progress: {first(error)}")


def shown(one: Progress) -> str:
    """A line of progress in words."""
    left = "" if one.eta is None else f", {one.eta:.0f} s left"
    return printable(one.line, LINE) + left


def fault(path: Path) -> Told:
    """The worker's fault. Raises Fault (worker-crash) where the file holds none."""
    try:
        return _TOLD.validate_json(_bytes(path))
    except ValidationError as error:
        raise _wrong(path, first(error)) from None


def record(path: Path) -> dict[str, Any]:
    """The worker's scores and facts. Raises Fault (worker-crash) where the file holds none."""
    try:
        found = _RECORD.validate_json(_bytes(path))
        json.dumps(found, allow_nan=False)
    except ValidationError as error:
        raise _wrong(path, first(error)) from None
    except ValueError:
        raise _wrong(path, "it holds a number that is not finite") from None
    return found


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise _wrong(path, f"it is larger than {LARGEST} bytes")
    return text


def _wrong(path: Path, why: str) -> Fault:
    return Fault("worker-crash", f"{path} is no answer of the mm worker: {why}; run again")
