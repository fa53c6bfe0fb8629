"""What pages are rendered from: the records of a home, and the benchmarks whose tables they fill."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.contract.protocol import Protocol, catalogue
from benchmarks.contract.result import Result
from benchmarks.contract.table import Table
from pretrain.base.faults import unknown
from reports.damaged import Damaged
from reports.records import Kept, fingerprint, rule
from reports.tables import rows as made
from reports.tables.beside import ALWAYS, beside
from reports.tables.cells import Missing, Row
from reports.tables.comparable import PUBLISHED
from reports.tables.fill import Filled, fill
from reports.tables.marks import method
from reports.tables.seeds import SKIPPED

Rules = frozenset[tuple[str, str]]  # digest of the rule, fingerprint of the data


@dataclass(frozen=True)
class View:
    """records: of a home; protocols: of its suite; suite: what people type behind --suite; planned: paths of
    the records that the suite would not compute again, which stand before newer ones; damaged: those of the
    home that cannot be read.
    """

    records: Kept
    protocols: Sequence[Protocol]
    suite: str
    planned: Set[Path] = frozenset()
    damaged: Sequence[Damaged] = ()

    @cached_property
    def rows(self) -> list[Row]:
        """A row per model."""
        return [self._fitted(row) for row in made.rows(self.records, self.planned, self.damaged)]

    def _fitted(self, row: Row) -> Row:
        """A row that says which of the benchmarks without a record cannot run on its architecture, or have
        no weights.
        """
        arch, why = architecture(row), made.untrained(row.records)
        if why is not None:
            lost = {one.name: why for one in self.protocols if one.name not in row.records}
            row = replace(row, records={**row.records, **lost})
        others = [one for one in self.every if arch and one.name not in row.records]
        unfit = {one.name: fault for one in others if (fault := one.unfit(arch)) is not None}
        said = {name: Missing(SKIPPED, f"{fault.reason}: {fault}") for name, fault in unfit.items()}
        return replace(row, records={**row.records, **said})

    @cached_property
    def every(self) -> list[Protocol]:
        """The protocols of the suite, and the published ones of tables that the suite leaves out."""
        tables = {protocol.table for protocol in self.protocols}
        others = [p for p in catalogue(PUBLISHED).values() if p.table not in tables]
        return sorted([*self.protocols, *others], key=lambda protocol: (protocol.place, protocol.name))

    @property
    def methods(self) -> list[str]:
        """The methods that a page is about: those of the models but for reference rows."""
        return sorted({method(row) for row in self.rows} - ALWAYS)

    def models(self, of: str = "") -> list[Row]:
        """The rows of a method with the reference rows, or all."""
        return [row for row in self.rows if not of or method(row) in {of, *ALWAYS}]

    def row(self, model: str) -> Row:
        """The row of a model. Raises Fault naming the nearest."""
        by_name = {row.model: row for row in self.rows}
        if model not in by_name:
            raise unknown("model", model, by_name)
        return by_name[model]

    def rules(self, protocol: Protocol) -> dict[str, Rules]:
        """Per model with numbers of a protocol, by which rules and on which data they were measured."""
        return self._rules.get(protocol.name, {})

    @cached_property
    def _rules(self) -> dict[str, dict[str, Rules]]:
        """By protocol; digests of settings, made once however many models are compared."""
        found: dict[str, dict[str, Rules]] = defaultdict(dict)
        for row in self.rows:
            for name, records in row.records.items():
                if not isinstance(records, Missing):
                    found[name][row.model] = frozenset((rule(r), fingerprint(r)) for _, r in records)
        return found

    def protocols_of(self, table: Table) -> list[Protocol]:
        """The protocols that share a table."""
        return [protocol for protocol in self.every if protocol.table == table]

    def tables(self) -> list[Table]:
        """Every table, in order."""
        return list(dict.fromkeys(protocol.table for protocol in self.every))

    def filled(self, table: Table, of: str = "", published: bool = True) -> Filled:
        """A table with the models of a method, or all, and what has been published of it."""
        rows, protocols = self.models(of), self.protocols_of(table)
        filled = fill(rows, protocols)
        return (beside(filled, protocols, rows) if published else filled)[0]

    def table_of(self, protocol: str) -> Table:
        """The table of a protocol. Raises Fault naming the nearest."""
        by_name = {one.name: one.table for one in self.every}
        if protocol not in by_name:
            raise unknown("table", protocol, by_name)
        return by_name[protocol]


def pretraining(row: Row) -> Result | None:
    """The record of a model's pretraining, of the first seed that has not failed; None without one."""
    return row.trained


def architecture(row: Row) -> str:
    """Of a model, as its records say; '' where there are none."""
    found = [records for records in row.records.values() if not isinstance(records, Missing)]
    return next((str(r.model["arch"]) for each in found for _, r in each if "arch" in r.model), "")


def facts(row: Row) -> dict[str, Any]:
    """What the record of a pretraining says for a model card."""
    record = pretraining(row)
    card = record.facts.get("card") if record else None
    return card if isinstance(card, dict) else {}
