"""The sentences below a table: why a number is missing, and
which numbers were chosen on the split they report.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.score import Score
from benchmarks.contract.table import Column
from reports.tables.cells import Missing, Row, cell


def notes(protocols: Sequence[Protocol], rows: Sequence[Row]) -> list[str]:
    """A sentence per reason and per selected number, behind the names of the models that it holds for."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for protocol in protocols:
            for sentence in _of(protocol, row):
                said.setdefault(sentence, []).append(row.model)
    return [f"{', '.join(dict.fromkeys(models))}: {sentence}" for sentence, models in said.items()]


def _of(protocol: Protocol, row: Row) -> list[str]:
    found = row.records.get(protocol.name)
    if isinstance(found, Missing):
        return [f"{found.word}: {found.why}"]
    if not found:
        return []
    shown = [
        (column, found[0][1].score(column.score)) for column in protocol.columns if column.show == "value"
    ]
    selected = [
        (column, score) for column, score in shown if score is not None and score.selected_on_its_split
    ]
    return [_selected(protocol, row, selected)] if selected else []


def _selected(protocol: Protocol, row: Row, selected: Sequence[tuple[Column, Score]]) -> str:
    """What was chosen how, with the honestly chosen values where there are some."""
    kinds = " and ".join(dict.fromkeys(score.selection.of for _, score in selected if score.selection))
    split = selected[0][1].split
    said = f"{protocol.name}: {kinds} selected on the split that is reported ({split}), as published"
    twins = [
        Column(column.heading, score.honest, column.digits) for column, score in selected if score.honest
    ]
    values = [f"{twin.heading} {cell(row, protocol, twin).text}" for twin in twins]
    return f"{said}; selected without it: {', '.join(values)}" if values else said
