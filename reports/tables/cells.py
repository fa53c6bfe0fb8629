"""Records to cells: a number with the digits of its protocol,
linked to its record, or a word for what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import NamedTuple

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.result import Result
from benchmarks.contract.table import Column

Found = Sequence[tuple[Path, Result]]


class Missing(NamedTuple):
    """Why there is no number: a word for the cell, a sentence for the notes."""

    word: str
    why: str


NOT_ASKED = Missing("not asked", "was not asked for")


@dataclass(frozen=True)
class Row:
    """A model: its weights, its recipe's name, and per protocol
    its records (one per seed) or why there are none.
    """

    model: str
    weights: Path | None
    config: str
    records: Mapping[str, Found | Missing]

    def found(self, protocol: str) -> Found | Missing:
        """The records of a protocol, or why there are none."""
        return self.records.get(protocol, NOT_ASKED)


class Cell(NamedTuple):
    """Text of a cell and the record it comes from."""

    text: str
    link: Path | None = None


def cell(row: Row, protocol: Protocol, column: Column) -> Cell:
    """The cell of a column in a model's row."""
    found = row.found(protocol.name)
    if isinstance(found, Missing):
        return Cell(found.word)
    scores = [record.score(column.score) for _, record in found]
    known = [score for score in scores if score is not None]
    if len(known) < len(scores):
        return Cell("not in suite")
    if column.show == "choice":
        choices = [score.selection.choice for score in known if score.selection]
        return Cell(max(choices, key=choices.count) if choices else "", found[0][0])
    text = f"{fmean(score.value for score in known):.{column.digits}f}"
    if len(known) > 1:
        text += f" ± {pstdev(score.value for score in known):.{column.digits}f}"
    return Cell(text, found[0][0])


def identity(row: Row) -> list[Cell]:
    """The Model and Config cells."""
    pretraining = row.records.get("pretrain")
    link = pretraining[0][0] if pretraining and not isinstance(pretraining, Missing) else None
    return [Cell(row.model, row.weights), Cell(row.config, link)]
