"""The sentences below a table: why a number is missing, and
which numbers were chosen on the split they report.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.score import Score
from benchmarks.contract.table import Column
from reports.tables import alike
from reports.tables.cells import Found, Missing, Row, cell


def notes(protocols: Sequence[Protocol], rows: Sequence[Row]) -> list[str]:
    """A sentence per reason and per selected number, behind the names of the models that it holds for."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for protocol in protocols:
            for sentence in _of(protocol, row):
                said.setdefault(sentence, []).append(row.model)
    for protocol in protocols:
        for model, sentence in alike.said(rows, protocol):
            said.setdefault(sentence, []).append(model)
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
    lines = [_selected(protocol, row, selected)] if selected else []
    return [*doubts(protocol, row), *_absent(protocol, found), *_mixed(protocol, found), *lines]


def doubts(protocol: Protocol, row: Row) -> list[str]:
    """Which seeds a model's number lacks, and what its records say against it."""
    found = row.found(protocol.name)
    records = [] if isinstance(found, Missing) else [record for _, record in found]
    said = [why for record in records for why in record.facts.get("alarms", ()) if isinstance(why, str)]
    lacking = row.lacking.get(protocol.name, ())
    return [
        f"{protocol.name}: {why}" for why in (*lacking, *(f"in doubt: {one}" for one in dict.fromkeys(said)))
    ]


def _mixed(protocol: Protocol, found: Found) -> list[str]:
    """What several seeds are not alike in: a low-shot SVM runs on the best layer of its own seed."""
    shown = {column.score for column in protocol.columns if column.show == "value"}
    said = [score.note for _, record in found for score in record.metrics if score.name in shown]
    each = list(dict.fromkeys(said))
    return (
        [f"{protocol.name}: its seeds differ, and their mean is over all: {', '.join(each)}"]
        if each[1:]
        else []
    )


def _absent(protocol: Protocol, found: Found) -> list[str]:
    """A sentence for each reason why records lack scores, which are named as their columns where they have
    some.
    """
    said: dict[str, list[str]] = {}
    for _, record in found:
        for name, why in record.missing.items():
            said.setdefault(why, []).append(name)
    headings = {column.score: column.heading for column in protocol.columns if column.show == "value"}
    lines = []
    for why, names in said.items():
        shown = [headings[name] for name in names if name in headings] or names
        lines.append(f"{protocol.name}: no {', '.join(dict.fromkeys(shown))}: {why}")
    return lines


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
