"""Rows of tables from records alone: models in the order that is asked for, then by name."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from benchmarks.contract.result import Result
from reports.records import PRETRAIN, Kept, current
from reports.tables.cells import Found, Missing, Row

WEIGHTS = "backbone.safetensors"
LAST = ("supervised", "random", "raw_pixels")  # reference rows stand below the others


def rows(records: Kept, planned: Set[Path] = frozenset()) -> list[Row]:
    """A row per model that records are of, from its newest records, those planned before others."""
    by_model: dict[str, dict[str, list[tuple[Path, Result]]]] = {}
    for path, record in current(records, planned):
        model, protocol = str(record.model.get("name", "")), str(record.protocol.get("name", ""))
        by_model.setdefault(model, {}).setdefault(protocol, []).append((path, record))
    old = {(str(r.model.get("name", "")), str(r.protocol.get("name", ""))) for _, r in records}
    made = [_row(model, found, {p for m, p in old if m == model}) for model, found in by_model.items()]
    return sorted(made, key=lambda row: (LAST.index(row.model) if row.model in LAST else -1, row.model))


def _row(model: str, by_protocol: dict[str, list[tuple[Path, Result]]], known: set[str]) -> Row:
    records: dict[str, Found | Missing] = {name: _found(found) for name, found in by_protocol.items()}
    for name in sorted(known - set(records)):
        records[name] = Missing("stale", "the weights have changed since; run it again")
    path, first = (by_protocol.get(PRETRAIN) or next(iter(by_protocol.values())))[0]
    weights = path.parent / WEIGHTS
    return Row(model, weights if weights.exists() else None, str(first.model.get("config", "")), records)


def _found(records: list[tuple[Path, Result]]) -> Found | Missing:
    """The records of all seeds, or what keeps one of them from being a number."""
    for _, record in records:
        if record.status != "ok":
            return Missing(record.status, f"{record.reason}: {record.message}")
    return records
