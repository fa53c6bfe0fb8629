"""Every number of every model once, as the tables of the overview, the results of a model and the comparison
show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.table import Column, Table
from reports.tables.alike import numbers
from reports.tables.beside import beside
from reports.tables.cells import Cell, Row
from reports.tables.fill import Filled, headings, kinds
from reports.tables.notes import notes
from reports.view import View


@dataclass(frozen=True)
class Part:
    """The rows of one kind in a table. cells: per model, per column."""

    kind: str
    columns: Sequence[tuple[Protocol, Column]]
    cells: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Sheet:
    """A table with its parts. headings: of the columns of numbers."""

    table: Table
    headings: Sequence[str]
    parts: Sequence[Part]
    notes: Sequence[str]
    published: Filled | None


@dataclass(frozen=True)
class Grid:
    """view: what is shown. A model without a number has a word that says why."""

    view: View

    @property
    def rows(self) -> Sequence[Row]:
        """A row per model."""
        return self.view.rows

    @cached_property
    def sheets(self) -> list[Sheet]:
        """The tables in their order."""
        return [self._sheet(table) for table in self.view.tables()]

    def _sheet(self, table: Table) -> Sheet:
        protocols = self.view.protocols_of(table)
        parts = []
        for kind, mine in kinds(protocols):
            columns = [(protocol, column) for protocol in mine for column in protocol.columns]
            parts.append(Part(kind, columns, numbers(self.rows, columns)))
        empty = Filled(table, (), [])
        published = beside([empty], protocols, self.rows)[0].published
        return Sheet(table, headings(protocols), parts, notes(protocols, self.rows), published)

    def results(self, index: int) -> Iterator[tuple[str, Protocol, Column, Cell]]:
        """The cells of a model, but for those of benchmarks that nobody asked it for."""
        for sheet in self.sheets:
            for part in sheet.parts:
                for (protocol, column), found in zip(part.columns, part.cells[index], strict=True):
                    if protocol.name in self.rows[index].records:
                        yield part.kind, protocol, column, found
