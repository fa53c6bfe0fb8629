"""Records to tables: headings, columns and places come from the protocols, how numbers were chosen from the
scores.

No torch here. Protocols that declare the same table share it: side by side in a row, or in rows of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.table import Table
from reports.tables.alike import numbers
from reports.tables.cells import Cell, Row, identity
from reports.tables.notes import notes


@dataclass(frozen=True)
class Filled:
    """A table with its columns, its rows, and the notes that its cells ask for.

    published: the numbers of other sources, a table of its own below this one.
    """

    table: Table
    columns: tuple[str, ...]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    published: Filled | None = None


def fill(rows: Sequence[Row], protocols: Sequence[Protocol]) -> list[Filled]:
    """The tables of these protocols, in their order, with a row per model."""
    tables = dict.fromkeys(protocol.table for protocol in protocols)
    return [_filled(table, [p for p in protocols if p.table == table], rows) for table in tables]


def headings(protocols: Sequence[Protocol]) -> tuple[str, ...]:
    """The columns of numbers of one table: those of the protocols that stand side by side."""
    first = [p for p in protocols if p.row == protocols[0].row]
    return tuple(column.heading for p in first for column in p.columns)


def kinds(protocols: Sequence[Protocol]) -> Iterator[tuple[str, list[Protocol]]]:
    """The kinds of rows of one table, each with the protocols whose columns it has."""
    for kind in dict.fromkeys(protocol.row for protocol in protocols):
        yield kind, [protocol for protocol in protocols if protocol.row == kind]


def named(kind: str, cells: list[Cell]) -> list[Cell]:
    """The cells of a row, the first with the name of its kind in front."""
    return [cells[0]._replace(text=f"{kind}: {cells[0].text}"), *cells[1:]] if kind else cells


def _filled(table: Table, protocols: Sequence[Protocol], rows: Sequence[Row]) -> Filled:
    columns = ("Model", table.config, *headings(protocols))
    lines: list[list[list[Cell]]] = []  # per kind of row, per model
    for kind, mine in kinds(protocols):
        grid = numbers(rows, [(protocol, column) for protocol in mine for column in protocol.columns])
        lines.append([named(kind, cells) for cells in grid])
    flat = [[*identity(row), *kind[i]] for i, row in enumerate(rows) for kind in lines]
    return Filled(table, columns, flat, notes(protocols, rows))
