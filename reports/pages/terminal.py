"""Tables on a terminal, or as plain text in a log. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.tables.fill import Filled

LOG_WIDTH = 180
STYLES = {"": "", "best": "bold", "grey": "dim"}
BORDER = 3  # characters that a column needs besides its text


def show(tables: Sequence[Filled], title: str, remark: str) -> None:
    """Prints title, remark, and every table with its notes; a wide one in blocks below each other."""
    console = Console(width=None if Console().is_terminal else LOG_WIDTH, highlight=False)
    console.print(Text(f"{title}\n{remark}"))
    for filled in tables:
        console.print(Text(filled.table.heading, style="italic"))
        for columns in blocks(filled, console.width):
            console.print(_grid(filled, columns))
        for note in filled.notes:
            console.print(Text(f"  {note}"))


def blocks(filled: Filled, width: int) -> Iterator[list[int]]:
    """Numbers of the columns that fit beside each other; each block starts with the model.

    A column that is wider than all there is stands alone with the model, and wraps.
    """
    wide = [
        BORDER + max(len(text) for text in (column, *(row[i].text for row in filled.rows)))
        for i, column in enumerate(filled.columns)
    ]
    block, left = [0], width - 1 - wide[0]
    for i in range(1, len(wide)):
        if wide[i] > left and len(block) > 1:
            yield block
            block, left = [0], width - 1 - wide[0]
        block, left = [*block, i], left - wide[i]
    yield block


def _grid(filled: Filled, columns: Sequence[int]) -> Table:
    grid = Table()
    for i in columns:
        grid.add_column(Text(filled.columns[i]))
    for row in filled.rows:
        grid.add_row(*(Text(row[i].text, style=STYLES[row[i].mark]) for i in columns))
    return grid
