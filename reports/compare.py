"""Models, variants or seeds side by side: how far their numbers are apart, the noise of that difference,
which of them cannot be compared and why, and which settings differ. From records alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.result import Result
from benchmarks.contract.score import Better, Score
from benchmarks.contract.table import Column
from pretrain.base.faults import Fault
from pretrain.base.settings import lines
from reports.tables.alike import differing
from reports.tables.cells import Missing, Row, over_seeds, scored
from reports.view import View, pretraining

NEAR = 1e-9  # numbers nearer than this are equal
CLEAR = 2.0  # standard errors from which on a difference is more than noise
SHARES = ("top1", "top5")  # what a score's name ends in that is a share of images: its own noise is known
NONE = "–"
Scored = tuple[str, Score]  # a score with what its weights are of


@dataclass(frozen=True)
class Number:
    """A model's number: the mean of n records, of seeds or evaluations. error: its standard error, None where
    nothing is known of it; noise: what that error is of, in words.
    """

    value: float
    n: int
    error: float | None
    noise: str


@dataclass(frozen=True)
class Difference:
    """To the first model. clear: whether it is more than noise, None where that is not known; better: whether
    it is in the direction that the score calls better.
    """

    value: float
    error: float | None
    clear: bool | None
    better: bool | None


@dataclass(frozen=True)
class Line:
    """One number of every model. numbers: or a word for what is missing; differences: to the first model,
    None where there is none; refused: per model why it is not to be compared with the first, '' where it is.
    """

    benchmark: str
    number: str
    digits: int
    numbers: Sequence[Number | str]
    differences: Sequence[Difference | None]
    refused: Sequence[str]


@dataclass(frozen=True)
class Comparison:
    """models: as they were named; settings: (path, a value per model) of the pretrainings that differ;
    unknown: models that no pretraining is recorded of.
    """

    models: Sequence[str]
    lines: Sequence[Line]
    settings: Sequence[tuple[str, Sequence[Any]]]
    unknown: Sequence[str]


def compare(view: View, names: Sequence[str]) -> Comparison:
    """The models of these names; `MODEL@SEED` is a model as trained with one seed. Raises Fault on fewer than
    two, or on a name that has no records.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        said = "compare takes two or more different models; MODEL@SEED is one seed of a model"
        raise Fault("bad-config", f"{said}; got {' '.join(names) or 'none'}")
    rows = [_row(view, name) for name in names]
    found = [
        line
        for protocol in view.protocols
        for column in protocol.columns
        if column.show == "value" and (line := _line(rows, protocol, column)) is not None
    ]
    unknown = [name for name, row in zip(names, rows, strict=True) if pretraining(row) is None]
    return Comparison(names, found, list(_settings(rows)), unknown)


def _row(view: View, name: str) -> Row:
    """The row of a model, or of one of its seeds, made of that seed's records alone: what another one has
    failed at is no matter. Raises Fault where it has none of that seed.
    """
    model, at, seed = name.rpartition("@")
    if not at or name in {row.model for row in view.rows}:
        return view.row(name)
    known = [one for one in view.records if one[1].model.get("name") == view.row(model).model]
    mine = [one for one in known if str(one[1].trained) == seed]
    if not mine:
        seeds = ", ".join(map(str, sorted({record.trained for _, record in known})))
        raise Fault("bad-config", f"{model} has no record of seed {seed or '(none)'}; it has seeds {seeds}")
    return replace(view, records=mine).row(model)


def _line(rows: Sequence[Row], protocol: Protocol, column: Column) -> Line | None:
    """The line of a number; None where fewer than two models were asked for it."""
    known = [row for row in rows if protocol.name in row.records]
    if len(known) < 2:
        return None
    scores = [_scores(row, protocol.name, column.score) for row in rows]
    numbers = [s if isinstance(s, str) else _number(s) for s in scores]
    first = numbers[0]
    records = [_records(row, protocol.name) for row in rows]
    refused = ["", *(differing(records[0], other) for other in records[1:])]
    better: Better = next((s[0][1].better for s in scores if not isinstance(s, str)), "")
    differences = [
        None if i == 0 or isinstance(first, str) or isinstance(one, str) else _difference(first, one, better)
        for i, one in enumerate(numbers)
    ]
    title = protocol.title or protocol.name
    heading = f"{protocol.row}: {column.heading}" if protocol.row else column.heading
    return Line(title, heading, column.digits, numbers, differences, refused)


def _records(row: Row, protocol: str) -> list[Result]:
    found = row.found(protocol)
    return [] if isinstance(found, Missing) else [record for _, record in found]


def _scores(row: Row, protocol: str, name: str) -> list[Scored] | str:
    """A score per record, all at one layer or setting, or a word for what is missing."""
    found = row.found(protocol)
    if isinstance(found, Missing):
        return found.word
    records = [record for _, record in found]
    scores = scored(records, name)
    if not scores or len(scores) < len(records):
        return NONE
    values, _ = over_seeds(records, name)
    alike = [replace(score, value=value) for score, value in zip(scores, values, strict=True)]
    return list(zip(map(_weights, records), alike, strict=True))


def _weights(record: Result) -> str:
    """What stands for the training behind a record; without one, several seeds have the same weights."""
    return str(record.identity.get("weights") or record.trained)


def _number(found: Sequence[Scored]) -> Number:
    """The mean over seeds with its standard error. Evaluations of the same weights are no new trainings: of
    several trainings each counts once, of one the error is that of its evaluations, repeats or images.
    """
    scores = [score for _, score in found]
    values = [score.value for score in scores]
    n, mean = len(values), fmean(values)
    away: dict[str, float] = {}
    for (weights, _), value in zip(found, values, strict=True):
        away[weights] = away.get(weights, 0.0) + (value - mean) / n
    spread = math.sqrt(sum(one**2 for one in away.values()))
    if (trained := len(away)) > 1 and spread > NEAR:  # few that agree by chance are not without noise
        error = spread * math.sqrt(trained / (trained - 1))
        return Number(mean, n, error, "seeds")
    return Number(mean, n, *_of_one_training(scores[0], values))


def _of_one_training(first: Score, values: Sequence[float]) -> tuple[float | None, str]:
    """The standard error of the mean of evaluations of the same weights, None where nothing is known of it,
    and what it is of.
    """
    n, mean, own = len(values), fmean(values), 0.0
    if n > 1:
        own = stdev(values) / math.sqrt(n)
    elif first.spread and len(first.spread.values) > 1:
        count = len(first.spread.values)  # std is that of a population
        return first.spread.std / math.sqrt(count - 1), first.spread.kind
    if first.name.endswith(SHARES) and first.n > 0 and 0 <= mean <= 100:
        share = mean / 100
        images = 100 * math.sqrt(share * (1 - share) / first.n)  # the same ones in every evaluation
        return (images, "images") if images >= own else (own, "evaluations")
    return (own, "evaluations") if own else (None, "")


def _difference(first: Number, other: Number, better: Better) -> Difference:
    """other - first; errors add as those of independent numbers."""
    value = other.value - first.value
    known = first.error is not None and other.error is not None
    error = math.hypot(first.error or 0.0, other.error or 0.0) if known else None
    clear = None if error is None else abs(value) > CLEAR * error
    gain = -value if better == "lower" else value
    return Difference(value, error, clear, gain > 0 if better and value else None)


def _settings(rows: Sequence[Row]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Settings of the pretrainings that are not the same in all models."""
    known = [_setting(row) for row in rows]
    for path in sorted({path for one in known for path in one}):
        values = [one.get(path, NONE) for one in known]
        if any(value != values[0] for value in values):
            yield path, values


def _setting(row: Row) -> dict[str, Any]:
    record = pretraining(row)
    settings = record.protocol.get("settings") if record else None
    return dict(lines({"method": _method(row), **settings})) if isinstance(settings, dict) else {}


def _method(row: Row) -> str:
    record = pretraining(row)
    return str(record.model.get("method", "")) if record else ""
