"""Records to tables: headings, columns and places come from the protocols, how numbers were chosen from the
scores.

No torch here. Protocols that declare the same table share it: side by side in a row, or in rows of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.table import Table
from reports.tables.cells import Cell, Row, cell, identity
from reports.tables.notes import notes


@dataclass(frozen=True)
class Filled:
    """A table with its columns, its rows, and the notes that its cells ask for."""

    table: Table
    columns: tuple[str, ...]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)


def fill(rows: Sequence[Row], protocols: Sequence[Protocol]) -> list[Filled]:
    """The tables of these protocols, in their order, with a row per model."""
    tables = dict.fromkeys(protocol.table for protocol in protocols)
    return [_filled(table, [p for p in protocols if p.table == table], rows) for table in tables]


def _filled(table: Table, protocols: Sequence[Protocol], rows: Sequence[Row]) -> Filled:
    first = [p for p in protocols if p.row == protocols[0].row]
    columns = ("Model", table.config, *(column.heading for p in first for column in p.columns))
    lines = [line for row in rows for line in _lines(row, protocols)]
    return Filled(table, columns, lines, notes(protocols, rows))


def _lines(row: Row, protocols: Sequence[Protocol]) -> Iterator[list[Cell]]:
    """The lines of a model: one for each kind of row, whose name stands in its first cell, number or none."""
    for kind in dict.fromkeys(protocol.row for protocol in protocols):
        mine = [protocol for protocol in protocols if protocol.row == kind]
        cells = [cell(row, p, column) for p in mine for column in p.columns]
        if kind:
            cells[0] = cells[0]._replace(text=f"{kind}: {cells[0].text}")
        yield [*identity(row), *cells]
