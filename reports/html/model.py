"""The page of a model: its facts, numbers, curves and classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pretrain.base.faults import Fault, printable
from pretrain.base.settings import lines
from reports.html import figures, pictures
from reports.html.grid import Grid
from reports.html.linked import linked
from reports.html.places import Places, filed
from reports.html.record import title
from reports.pages import card
from reports.pages.about import About, about
from reports.records import seeds
from reports.tables.cells import NAME, Missing, Row
from reports.tables.marks import method
from reports.view import facts


def words(grid: Grid, index: int, places: Places, count: int) -> dict[str, Any]:
    """What the template of a model's page says. count: its records, older ones too."""
    row = grid.rows[index]
    return {
        "name": row.model,
        "key": filed(row.model),
        "about": _about(row),
        "records": places.of(row.model),
        "count": count,
        "facts": _facts(row),
        "missing": list(_missing(row)),
        "results": list(_results(grid, index, places)),
        "training": figures.training(row),
        "shots": figures.shots(grid.view, row),
        "layers": figures.layers(grid.view, row),
        "pictures": list(pictures.shown(row, places)),
        "bars": [_bars(bars, places) for bars in figures.bars(row)],
    }


def _about(row: Row) -> About:
    try:
        return about(method(row))
    except Fault:  # a text of the user's that cannot be read is no reason to have no page
        return About(name=method(row), abstract="")


def _facts(row: Row) -> list[tuple[str, str]]:
    """The facts of a model card; of one with values of other kinds, as they stand in the record."""
    known = facts(row)
    if not known:
        return []
    try:
        return [(name, value) for name, value in card.fields(known) if value]
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return [(name, str(value)) for name, value in lines(known)]


def _missing(row: Row) -> Iterator[str]:
    """A line per reason, with the benchmarks that it holds for."""
    said: dict[str, list[str]] = {}
    for name, found in row.records.items():
        if isinstance(found, Missing):
            said.setdefault(f"{found.word}: {found.why}", []).append(name)
    yield from (f"{', '.join(names)}: {why}" for why, names in said.items())


def _results(grid: Grid, index: int, places: Places) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for kind, protocol, column, cell in grid.results(index):
        where = protocol.title or protocol.name
        yield (
            where,
            column.heading if not kind else f"{kind}: {column.heading}",
            linked(cell, grid.rows[index], places),
        )


def _bars(bars: figures.Bars, places: Places) -> dict[str, Any]:
    of = bars.record.facts.get("per_class_of")
    return {
        "title": f"{title(bars.record)}: {printable(of, NAME)}"
        if isinstance(of, str)
        else title(bars.record),
        "seed": seeds(bars.record.trained, bars.record.seed),
        "href": places.record(bars.path),
        "rows": bars.rows,
        "left": bars.left,
    }
