"""Numbers of one column that were not measured alike: another rule, or other data than beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.result import Result
from benchmarks.contract.table import Column
from pretrain.base.identity import digest
from pretrain.base.settings import lines
from reports.records import fingerprint, rule
from reports.tables.cells import Cell, Missing, Row, cell
from reports.tables.marks import marked

ASKED = ("version", "settings", "numerics", "data")  # of an identity: what has to be equal
PARTS = (*ASKED, "packages")  # what has to be for a difference to be one of the models alone
NONE = "–"


def numbers(rows: Sequence[Row], columns: Sequence[tuple[Protocol, Column]]) -> list[list[Cell]]:
    """The cells of models in columns, the best of each marked; grey and not in the running are those that
    were measured by another rule than most.
    """
    other = {name: odd(rows, protocol) for name, protocol in {p.name: p for p, _ in columns}.items()}
    grid = [[_cell(row, *column, row.model in other[column[0].name]) for column in columns] for row in rows]
    return marked(rows, grid)


def _cell(row: Row, protocol: Protocol, column: Column, odd: bool) -> Cell:
    made = cell(row, protocol, column)
    return made._replace(mark="grey") if odd and made.value is not None else made


def odd(rows: Sequence[Row], protocol: Protocol) -> dict[str, str]:
    """Models whose numbers follow another rule than those of most, or of which each seed has its own; why."""
    found = {row.model: records for row in rows if (records := _records(row, protocol))}
    rules = {model: {(rule(r), fingerprint(r)) for r in records} for model, records in found.items()}
    counted = Counter(next(iter(mine)) for mine in rules.values() if len(mine) == 1)
    if len({one for mine in rules.values() for one in mine}) < 2:
        return {}
    usual = {counted.most_common(1)[0][0]} if counted else set[tuple[str, str]]()
    first = next((found[model] for model, mine in rules.items() if mine == usual), ())
    return {
        model: differing(first or records, records, ASKED)
        for model, records in found.items()
        if rules[model] != usual
    }


def _records(row: Row, protocol: Protocol) -> list[Result]:
    found = row.found(protocol.name)
    return [] if isinstance(found, Missing) else [record for _, record in found]


def said(rows: Sequence[Row], protocol: Protocol) -> Iterator[tuple[str, str]]:
    """(model, sentence) of those that stand grey in their column."""
    for model, why in odd(rows, protocol).items():
        yield model, f"{protocol.name}: grey, not to be compared with the others: {why}"


def differing(first: Sequence[Result], other: Sequence[Result], parts: Sequence[str] = PARTS) -> str:
    """Why records of one protocol are not to be compared with others: which rule or data differ between any
    two seeds of them; '' where none does.
    """
    if not first or not other:
        return ""
    known = [_identity(record, parts) for record in (*first, *other)]
    paths = sorted({path for one in known for path in one})
    values = {path: list(dict.fromkeys(_short(one.get(path)) for one in known)) for path in paths}
    differ = [path for path in paths if any(one.get(path) != known[0].get(path) for one in known)]
    said = [f"{path} {' or '.join(values[path])}" for path in differ]
    counts = [sorted({score.n for record in side for score in record.metrics}) for side in (first, other)]
    if not said and counts[0] != counts[1]:
        said = [f"scored on {counts[0]} or {counts[1]} samples"]
    return "; ".join(said)


def word(row: Row, protocol: Protocol) -> str:
    """The same for models whose numbers of a protocol may be compared; '' where a model's seeds may not."""
    records = _records(row, protocol)
    known = {digest(_identity(record, PARTS)) for record in records}
    counts = sorted({score.n for record in records for score in record.metrics})
    return digest([*known, counts])[:8] if len(known) == 1 else ""


def _identity(record: Result, parts: Sequence[str]) -> dict[str, Any]:
    return dict(lines({part: record.identity.get(part) for part in parts}))


def _short(value: Any) -> str:
    text = NONE if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:21]}..."
