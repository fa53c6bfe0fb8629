"""Results of a model with its rank among all models of the store and the published ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.table import Column
from reports.pages.markdown import escape
from reports.tables.cells import Cell, Row, cell
from reports.tables.comparable import other_rule
from reports.tables.notes import doubts
from reports.tables.published import sources
from reports.view import View

HEAD = ("Benchmark", "Model", "Metric Name", "Metric Value", "Global Rank")


def results(view: View, row: Row) -> str:
    """The table of results as Markdown, a line per number, and what makes one doubtful below."""
    lines = [list(HEAD), ["---"] * len(HEAD)]
    for protocol in view.protocols:
        others = list(_comparable(view, row, protocol))
        for column in protocol.columns:
            found = cell(row, protocol, column) if column.show == "value" else None
            if found is not None and found.value is not None:
                where = f"{protocol.title}" if protocol.title else protocol.name
                rank = ranked(others, row, protocol, column, found)
                lines.append([*map(escape, (where, row.model, column.heading, found.text, rank))])
    if len(lines) == 2:
        return "It has not been evaluated."
    said = [f"- {escape(why)}" for protocol in view.protocols for why in doubts(protocol, row)]
    grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join(filter(None, (grid, "\n".join(said))))


def ranked(others: Sequence[Row], row: Row, protocol: Protocol, column: Column, mine: Cell) -> str:
    """'# 2 of 5 (3 published)': models with a better number of the same rule on the same data, plus one.

    What is shown alike is equally good, as in the tables: values are compared as they are rounded.
    """
    assert mine.value is not None
    ours = [value for other in others if (value := cell(other, protocol, column).value) is not None]
    theirs = [float(value) for value in _published(row, protocol, column)]
    sign = -1 if mine.better == "lower" else 1
    own = sign * round(mine.value, mine.digits)
    better = sum(sign * round(value, mine.digits) > own for value in [*ours, *theirs])
    said = f" ({len(theirs)} published)" if theirs else ""
    return f"# {better + 1} of {1 + len(ours) + len(theirs)}{said}"


def _comparable(view: View, row: Row, protocol: Protocol) -> Iterator[Row]:
    """The other models."""
    rules = view.rules(protocol)
    mine = rules.get(row.model)
    yield from (other for other in view.rows if other is not row and rules.get(other.model) == mine)


def _published(row: Row, protocol: Protocol, column: Column) -> Iterator[Decimal]:
    """A number per published model, of the source that is named first; none where the rules differ."""
    found = sources(protocol.name)
    if found is None or other_rule(row, protocol, found):
        return
    seen = set[tuple[str, int | None]]()
    for one in found.rows:
        if column.score in one.values and not one.differs and (one.model, one.epochs) not in seen:
            seen.add((one.model, one.epochs))
            yield one.values[column.score]
