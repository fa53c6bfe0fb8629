"""Tables on a terminal, or as plain text in a log. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from reports.tables.fill import Filled

LOG_WIDTH = 180


def show(tables: Sequence[Filled], title: str, remark: str) -> None:
    """Prints title, remark, and every table with its notes."""
    console = Console(width=None if Console().is_terminal else LOG_WIDTH)
    console.print(f"{title}\n{remark}", markup=False)
    for filled in tables:
        grid = Table(title=filled.table.heading, title_justify="left")
        for i, column in enumerate(filled.columns):
            grid.add_column(column, no_wrap=i != 1)
        for row in filled.rows:
            grid.add_row(*(cell.text for cell in row))
        console.print(grid)
        for note in filled.notes:
            console.print(f"  {note}", markup=False, highlight=False)
