"""Result records: one JSON file per job, the only thing a table is filled from. No torch here."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from pretrain import files
from pretrain.checkpoint import Meta
from pretrain.faults import REASONS, Fault
from pretrain.recipe import facts

SCHEMA = "zoo.result/1"
Status = Literal["ok", "failed", "skipped"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Spread(_Strict):
    """Values of repeated draws or seeds and their population standard deviation."""

    kind: str
    std: float
    values: list[float]


class Metric(_Strict):
    """A number with everything needed to read it; value unrounded, in `unit`."""

    name: str
    value: float
    unit: str
    better: str
    split: str
    n: int
    spread: Spread | None = None
    note: str = ""

    @field_validator("value", mode="before")
    @classmethod
    def _a_number(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"expected a finite number, got {value!r}")
        return value


class Result(_Strict):
    """The record of one job, status ok, failed or skipped; a missing number has a reason, never a value."""

    schema_: Literal["zoo.result/1"] = "zoo.result/1"
    key: str
    suite: str
    status: Status
    reason: str | None = None
    message: str | None = None
    model: dict[str, Any]
    protocol: dict[str, Any]
    data: dict[str, Any]
    seed: int
    metrics: list[Metric]
    facts: dict[str, Any]
    env: dict[str, Any]
    cost: dict[str, float]
    time: dict[str, str]
    digest: str = ""

    def metric(self, name: str) -> Metric | None:
        return next((metric for metric in self.metrics if metric.name == name), None)


def write(path: Path, result: Result) -> None:
    """Writes the record, absent or complete, with a digest of its contents. Raises Fault on a full disk."""
    assert result.status == "ok" or result.reason in REASONS, result.reason
    body = _body(result)
    body["digest"] = _digest(body)
    files.write_text(path, json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n")


def _body(result: Result) -> dict[str, Any]:
    body = result.model_dump(mode="json", exclude={"digest"})
    body["schema"] = body.pop("schema_")
    return body


def _digest(body: dict[str, Any]) -> str:
    text = json.dumps({k: v for k, v in body.items() if k != "digest"}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path) -> Result:
    """The record at a path. Raises Fault on another schema, a changed or damaged file."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        schema = body.pop("schema")
        if schema != SCHEMA:
            raise ValueError(f"schema {schema}, this version reads {SCHEMA}")
        if body["digest"] != _digest({**body, "schema": schema}):
            raise ValueError("its contents differ from its digest: it was edited by hand")
        return Result(**body)
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise Fault("data-corrupt", f"{path} is not a result record: {error}; delete it to compute it again") from error


def weights_identity(meta: Meta) -> dict[str, Any]:
    """What of a weights file decides a number: equal tensors behind another preprocessing give other features."""
    return {"weights": meta.sha256, "arch": meta.arch, "input": facts(meta.input)}


def every(root: Path) -> Iterator[tuple[Path, Result]]:
    """All records below a folder, with their paths, in path order."""
    for path in sorted(root.rglob("result.json")):
        yield path, read(path)


def json_schema() -> dict[str, Any]:
    """JSON Schema of a record."""
    return Result.model_json_schema()
