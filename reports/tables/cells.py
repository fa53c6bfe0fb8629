"""Records to cells: a number with the digits of its protocol,
linked to its record, or a word for what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.result import Result
from benchmarks.contract.score import Better, Score, best
from benchmarks.contract.table import Column
from pretrain.base.faults import printable

Found = Sequence[tuple[Path, Result]]
NAME = 100  # characters of a name in a cell


class Missing(NamedTuple):
    """Why there is no number: a word for the cell, a sentence for the notes."""

    word: str
    why: str


Mark = Literal["", "best", "grey"]
ABSENT = "–"  # a record says why it has no such score
NOT_ASKED = Missing("not asked", "was not asked for")


@dataclass(frozen=True)
class Row:
    """A model: its weights, its recipe's name, and per protocol its records (one per seed) or why there are
    none. lacking: per protocol, seeds that have no number beside those that have; method: '' where nobody
    knows; trained: the pretraining of the first seed that has not failed, None where there is none.
    """

    model: str
    weights: Path | None
    config: str
    records: Mapping[str, Found | Missing]
    lacking: Mapping[str, Sequence[str]] = field(default_factory=dict)
    method: str = ""
    trained: Result | None = None

    def found(self, protocol: str) -> Found | Missing:
        """The records of a protocol, or why there are none."""
        return self.records.get(protocol, NOT_ASKED)


class Cell(NamedTuple):
    """Text of a cell, the record it comes from, and those of further seeds.

    value: the number, unrounded, with the digits it is shown with and which direction is better; mark: the
    best of its column, or grey for what cannot be compared; gain: a difference, in words.
    """

    text: str
    link: Path | None = None
    more: tuple[Path, ...] = ()
    value: float | None = None
    digits: int = 2
    better: Better = ""
    mark: Mark = ""
    gain: str = ""


def cell(row: Row, protocol: Protocol, column: Column) -> Cell:
    """The cell of a column in a model's row: of several seeds the mean, the sample standard deviation, n."""
    found = row.found(protocol.name)
    if isinstance(found, Missing):
        return Cell(found.word)
    link, more = found[0][0], tuple(path for path, _ in found[1:])
    records = [record for _, record in found]
    scores = scored(records, column.score)
    if any(column.score in record.missing for _, record in found):
        return Cell(ABSENT, link, more)
    if len(scores) < len(found):
        return Cell("not in suite")
    values, choice = over_seeds(records, column.score)
    if column.show == "choice":
        return Cell(printable(choice, NAME), link, more)
    text = f"{fmean(values):z.{column.digits}f}"
    if len(values) > 1:
        text += f" ± {stdev(values):.{column.digits}f} (n = {len(values)})"
    return Cell(text, link, more, fmean(values), column.digits, scores[0].better)


def over_seeds(records: Sequence[Result], name: str) -> tuple[list[float], str]:
    """A value per record that has a score of this name, and the one layer or setting that all of them were
    taken at.

    The layer that is best for one seed is not that of another: a mean over both is of no model. So one is
    chosen for all, by the mean where the field chooses on the split it reports, else as most seeds chose. A
    top-5 stands where the top-1 beside it was chosen.
    """
    scores, leading = scored(records, name), scored(records, name.replace("top5", "top1"))
    values = [score.value for score in scores]
    choice = _choice(leading if len(leading) == len(scores) else scores)
    if choice is None:
        return values, scores[0].note
    there = [_candidates(score).get(choice) for score in scores]
    shared = [value for value in there if value is not None]
    return shared if len(shared) == len(scores) > 1 else values, choice


def scored(records: Sequence[Result], name: str) -> list[Score]:
    """The scores of this name, of the records that have one."""
    return [score for record in records if (score := record.score(name)) is not None]


def _choice(scores: Sequence[Score]) -> str | None:
    """What scores of several seeds are taken at; None where nothing was chosen."""
    selections = [score.selection for score in scores if score.selection is not None]
    if len(selections) < len(scores):
        return None
    chosen = [selection.choice for selection in selections]
    common = [name for name in selections[0].among if all(name in s.among for s in selections)]
    if len(scores) == 1 or not common:
        return max(chosen, key=chosen.count)
    if scores[0].selected_on_its_split:
        return best({name: fmean(s.among[name] for s in selections) for name in common})
    return max(common, key=chosen.count)


def _candidates(score: Score) -> Mapping[str, float]:
    """What a score would be at every candidate. Until 2026-11-23 linear records listed the top-1 of every
    epoch beside the top-5, too: such a list is none of it.
    """
    among = score.selection.among if score.selection else {}
    own = among.get(score.selection.choice if score.selection else "")
    return among if own is not None and isclose(own, score.value, abs_tol=1e-6) else {}


def identity(row: Row) -> list[Cell]:
    """The Model and Config cells."""
    pretraining = row.records.get("pretrain")
    link = pretraining[0][0] if pretraining and not isinstance(pretraining, Missing) else None
    return [Cell(printable(row.model, NAME), row.weights), Cell(printable(row.config, NAME), link)]
