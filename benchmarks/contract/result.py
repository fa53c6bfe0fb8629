"""Result records: one JSON file per job, the only thing a table is filled from. No torch here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmarks.contract.score import Score
from pretrain.base import files
from pretrain.base.faults import Fault, Reason, printable
from pretrain.base.identity import canonical

NAME = "result.json"
SCHEMA: Literal["zoo.result/2"] = "zoo.result/2"
LARGEST = 64 << 20  # bytes of a record; most have a few thousand
Status = Literal["ok", "failed", "skipped"]


class Result(BaseModel):
    """The record of one job, status ok, failed or skipped; a missing number has a reason, never a value.

    key: the digest of `identity`, which holds all that decides the numbers; everything else is circumstance:
    facts are what a reader may want to know, env and cost what it ran on and took; missing: why a score that
    the protocol declares is not among the metrics of a record that is ok, by its name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    schema_: Literal["zoo.result/2"] = Field(default=SCHEMA, alias="schema")
    key: str
    suite: str
    status: Status
    reason: Reason | None = None
    message: str | None = None
    model: dict[str, Any]
    protocol: dict[str, Any]
    identity: dict[str, Any]
    seed: int
    metrics: list[Score]
    missing: dict[str, str] = Field(default_factory=dict)
    facts: dict[str, Any]
    env: dict[str, Any]
    cost: dict[str, float]
    time: dict[str, str]
    digest: str = ""

    def score(self, name: str) -> Score | None:
        """The score of that name, None where the protocol has not given one."""
        return next((score for score in self.metrics if score.name == name), None)

    @property
    def trained(self) -> int:
        """The seed of its model, which may be evaluated with others."""
        seed = self.model.get("seed", self.seed)
        return seed if isinstance(seed, int) else self.seed

    def as_json(self) -> dict[str, Any]:
        """The record as it stands in its file."""
        return self.model_dump(mode="json", by_alias=True)


def write(path: Path, result: Result) -> None:
    """Writes the record, absent or complete, with a digest of its contents. Raises Fault on a full disk."""
    assert (result.status == "ok") == (result.reason is None), result.reason
    body = result.as_json()
    body["digest"] = _digest(body)
    files.write_text(path, json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n")


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(canonical({k: v for k, v in body.items() if k != "digest"}).encode()).hexdigest()


def read(path: Path) -> Result:
    """The record at a path. Raises Fault on another schema, a changed or damaged file."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST} bytes")
        body = json.loads(text.decode())
        if body["schema"] != SCHEMA:
            raise ValueError(f"schema {printable(str(body['schema']), 40)}, this version reads {SCHEMA}")
        if body["digest"] != _digest(body):
            raise ValueError("its contents differ from its digest: it was edited by hand")
        return Result(**body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        why = f"{printable('.'.join(map(str, first['loc'])), 80)}: {first['msg']}"
    except RecursionError:
        why = "it is nested too deeply"
    except KeyError as error:
        why = f"it has no {error}"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        why = str(error)
    raise Fault("data-corrupt", f"{path} is not a result record: {why}; delete it to compute it again")


def readable(path: Path) -> Result | None:
    """The record at a path; None where there is none or it cannot be read."""
    try:
        return read(path)
    except Fault:
        return None


def every(root: Path) -> Iterator[tuple[Path, Result]]:
    """All records below a folder, with their paths, in path order."""
    for path in sorted(root.rglob("result.json")):
        yield path, read(path)
