"""Published numbers beside the measured ones: a table of their own, a row per source, never mixed with
ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.table import Column
from reports.tables.cells import Cell, Mark, Row, cell
from reports.tables.comparable import other_rule, trained_by
from reports.tables.fill import Filled, headings, kinds, named
from reports.tables.marks import method, signed
from reports.tables.published import Published, Sources, disagreeing, sources

ALWAYS = frozenset({"random", "raw_pixels", "supervised"})  # reference rows of every table
NONE = "–"
Line = dict[str, Published]  # of one model and source, by protocol


@dataclass(frozen=True)
class Ours:
    """Our rows, judged once per protocol, however many published numbers stand beside them."""

    rows: Sequence[Row]

    @cached_property
    def judged(self) -> dict[str, list[str]]:
        """Per protocol and row why the row is not to be compared; filled in when it is asked for."""
        return {}

    def refused(self, protocol: Protocol, found: Sources) -> list[str]:
        """Per row why its numbers of a protocol do not follow the published rule; '' where they do."""
        if protocol.name not in self.judged:
            self.judged[protocol.name] = [other_rule(row, protocol, found) for row in self.rows]
        return self.judged[protocol.name]

    @cached_property
    def trained(self) -> dict[str, list[int]]:
        """Numbers of the rows by the recipe that they were trained by, unchanged."""
        found: dict[str, list[int]] = {}
        for i, row in enumerate(self.rows):
            found.setdefault(trained_by(row), []).append(i)
        return found


def beside(
    tables: Sequence[Filled], protocols: Sequence[Protocol], rows: Sequence[Row], everyone: bool = False
) -> list[Filled]:
    """The tables, each with what has been published of it for the methods of the rows, or for everyone."""
    methods = {method(row) for row in rows} | ALWAYS
    return [
        replace(filled, published=_published(filled, mine, rows, None if everyone else methods))
        for filled in tables
        for mine in [[protocol for protocol in protocols if protocol.table == filled.table]]
    ]


def _published(
    filled: Filled, protocols: Sequence[Protocol], rows: Sequence[Row], methods: set[str] | None
) -> Filled | None:
    ours = Ours(rows)
    lines = [
        named(kind, _cells(line, mine, ours))
        for kind, mine in kinds(protocols)
        for line in _lines(mine, methods)
    ]
    if not lines:
        return None
    columns = ("Published", "Source", "Epochs", *headings(protocols))
    return Filled(filled.table, columns, lines, list(dict.fromkeys(_notes(protocols, ours, methods))))


def _wanted(protocol: Protocol, methods: set[str] | None) -> list[Published]:
    found = sources(protocol.name)
    return [row for row in found.rows if methods is None or row.method in methods] if found else []


def _lines(protocols: Sequence[Protocol], methods: set[str] | None) -> list[Line]:
    """A line per model and source, with the rows of the protocols that stand side by side."""
    lines: dict[tuple[str, int | None, str], Line] = {}
    for protocol in protocols:
        for one in _wanted(protocol, methods):
            lines.setdefault((one.model, one.epochs, one.source), {})[protocol.name] = one
    return list(lines.values())


def _cells(line: Line, protocols: Sequence[Protocol], ours: Ours) -> list[Cell]:
    first = next(iter(line.values()))
    cells = [_cell(line.get(p.name), p, column, ours) for p in protocols for column in p.columns]
    return [Cell(first.model), Cell(first.source), Cell(str(first.epochs or NONE)), *cells]


def _cell(one: Published | None, protocol: Protocol, column: Column, ours: Ours) -> Cell:
    found = sources(protocol.name)
    if one is None or found is None:
        return Cell(NONE)
    refused = ours.refused(protocol, found)
    mark: Mark = "grey" if one.differs or any(refused) else ""
    if column.show == "choice":
        return Cell(one.choice, mark=mark) if one.choice else Cell(NONE)
    if column.score not in one.values:
        return Cell(NONE)
    value = one.values[column.score]
    torn = (one.model, column.score) in disagreeing(found.rows) and not one.differs
    gains = [] if one.differs else list(_gains(float(value), one, protocol, column, ours, refused))
    return Cell(f"{value} ≠" if torn else f"{value}", mark=mark, gain=", ".join(gains))


def _gains(
    value: float, one: Published, protocol: Protocol, column: Column, ours: Ours, refused: Sequence[str]
) -> Iterator[str]:
    """How far our models of the same recipe are from a published number."""
    for i in ours.trained.get(one.recipe, ()) if one.recipe else ():
        mine = None if refused[i] else cell(ours.rows[i], protocol, column).value
        if mine is not None:
            yield f"{ours.rows[i].model} {signed(mine - value, column.digits)}"


def _notes(protocols: Sequence[Protocol], ours: Ours, methods: set[str] | None) -> Iterator[str]:
    for protocol in protocols:
        found, wanted = sources(protocol.name), _wanted(protocol, methods)
        if found is None or not wanted:
            continue
        yield f"{protocol.name}: {found.selection}, as published"
        yield from _refused(protocol, found, ours)
        yield from _torn(protocol, wanted)
        yield from _remarks(wanted)


def _remarks(wanted: Sequence[Published]) -> Iterator[str]:
    """What is said of rows, once per source."""
    remarks: dict[tuple[str, str], list[str]] = {}
    for one in wanted:
        said = [one.selection, one.note, f"grey, another rule: {one.differs}" if one.differs else ""]
        if any(said):
            remarks.setdefault((one.source, "; ".join(filter(None, said))), []).append(one.model)
    for (source, remark), models in remarks.items():
        yield f"{source} ({'; '.join(dict.fromkeys(models))}): {remark}"


def _refused(protocol: Protocol, found: Sources, ours: Ours) -> Iterator[str]:
    said: dict[str, list[str]] = {}
    for row, why in zip(ours.rows, ours.refused(protocol, found), strict=True):
        if why:
            said.setdefault(why, []).append(row.model)
    for why, models in said.items():
        yield f"{protocol.name}: grey, not to be compared with {', '.join(models)}: {why}"


def _torn(protocol: Protocol, wanted: Sequence[Published]) -> Iterator[str]:
    """Where sources contradict each other: every value with its source."""
    headings = {column.score: column.heading for column in protocol.columns if column.show == "value"}
    for model, score in disagreeing(wanted):
        said: dict[Decimal, list[str]] = {}
        for one in wanted:
            if one.model == model and score in one.values and not one.differs:
                said.setdefault(one.values[score], []).append(one.source)
        values = "; ".join(f"{value} in {', '.join(found)}" for value, found in said.items())
        yield f"≠ sources disagree on {model}, {headings.get(score, score)}: {values}"
