"""`zoo compare A B [C]`: models, variants or seeds side by side, with the noise of their differences."""

from __future__ import annotations

import json as text
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pretrain.base.faults import printable
from reports.compare import CLEAR, Comparison, Difference, Line, Number, compare
from reports.view import View
from zoo.kept import kept
from zoo.options import AsJson, Out, Sets, SuiteOption
from zoo.plan.counted import counted
from zoo.request import everything

Names = Annotated[list[str], typer.Argument(help="Two or more models; MODEL@SEED is one seed of a model.")]
WIDTH = 180  # characters of a line where nobody looks
MARKS = {True: "", False: "≈", None: "?"}  # behind a difference: clear, within noise, noise unknown


def command(
    models: Names, suite: SuiteOption = "demo", out: Out = None, sets: Sets = None, json: AsJson = False
) -> None:
    """Differences of models to the first one with their noise, and which settings differ. From records."""
    request = everything(suite, out, sets or [])
    records, damaged = kept(request.store.home)
    view = View(records, request.protocols, suite, counted(request), damaged)
    made = compare(view, models)
    if json:
        print(text.dumps(asdict(made), indent=1))
        return
    console = Console(width=None if Console().is_terminal else WIDTH, highlight=False)
    _numbers(made, console)
    _settings(made, console)


def _numbers(made: Comparison, console: Console) -> None:
    if not made.lines:
        console.print(Text("no benchmark that two of these models have been through"))
        return
    grid = _grid("Benchmark", "Number", *made.models)
    shown, refused = "", dict[str, int]()
    for line in made.lines:
        cells = [_cell(line, i, refused) for i in range(len(made.models))]
        grid.add_row(Text(line.benchmark if line.benchmark != shown else ""), Text(line.number), *cells)
        shown = line.benchmark
    console.print(grid)
    for note in _notes(made, refused):
        console.print(Text(f"  {note}"))


def _grid(*headings: str) -> Table:
    grid = Table()
    for heading in headings:
        grid.add_column(Text(printable(heading)))
    return grid


def _cell(line: Line, i: int, refused: dict[str, int]) -> Text:
    """A number, and behind it the difference to the first model; refused: why not, numbered."""
    number, gap, why = line.numbers[i], line.differences[i], line.refused[i]
    made = Text(number if isinstance(number, str) else _said(number, line.digits))
    if why and gap:
        mark = refused.setdefault(why, len(refused) + 1)
        made.append(f"  not comparable [{mark}]", style="dim")
    elif gap:
        colour = {True: "green", False: "red", None: ""}[gap.better if gap.clear else None]
        made.append(f"  {_gap(gap, line.digits)}", style=colour)
    return made


def _said(number: Number, digits: int) -> str:
    error = "" if number.error is None else f" ± {number.error:.{digits}f}"
    return f"{number.value:.{digits}f}{error}{f' (n = {number.n})' if number.n > 1 else ''}"


def _gap(gap: Difference, digits: int) -> str:
    error = "" if gap.error is None else f" ± {gap.error:.{digits}f}"
    return f"{gap.value:+.{digits}f}{error} {MARKS[gap.clear]}".replace("-", "−").rstrip()


def _notes(made: Comparison, refused: dict[str, int]) -> Iterator[str]:
    kinds = {n.noise for line in made.lines for n in line.numbers if isinstance(n, Number) and n.noise}
    if kinds:
        yield f"±: standard errors, of {', '.join(sorted(kinds))}; of one seed none of them is of its training"
        yield f"≈: at most {CLEAR:g} standard errors, within noise"
    if any(gap and gap.error is None for line in made.lines for gap in line.differences):
        yield "?: its noise is not known; run more seeds"
    yield from (f"[{mark}] {printable(why, 600)}" for why, mark in refused.items())


def _settings(made: Comparison, console: Console) -> None:
    for name in made.unknown:
        console.print(Text(f"{printable(name)}: no record of its pretraining, so none of its settings"))
    if not made.settings:
        console.print(Text("no setting of the pretrainings differs"))
        return
    grid = _grid("Setting of the pretraining", *made.models)
    for path, values in made.settings:
        grid.add_row(Text(printable(path)), *(Text(printable(str(value), 60)) for value in values))
    console.print(grid)
