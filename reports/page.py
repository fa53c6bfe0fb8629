"""Tables as a page of GitHub Markdown. No torch here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from reports.tables import Cell, Row, fill


def markdown(rows: Sequence[Row], title: str, remark: str, beside: Path) -> str:
    """The page as GitHub Markdown; links are relative to the folder `beside`."""
    parts = [f"# {escape(title)}", escape(remark)]
    for filled in fill(rows):
        parts.append(f"{'#' * filled.table.level} {filled.table.heading}")
        if filled.table.intro:
            parts.append(filled.table.intro)
        if filled.table.columns:
            lines = [filled.table.columns, ["---"] * len(filled.table.columns)]
            body = [[_linked(cell, beside) for cell in row] for row in filled.rows]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in [*lines, *body]))
        if filled.notes:
            parts.append("\n".join(f"- {escape(note)}" for note in filled.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def _linked(cell: Cell, beside: Path) -> str:
    text = escape(cell.text)
    if cell.link is None:
        return text
    target = os.path.relpath(cell.link, beside).replace(" ", "%20").replace("(", "%28").replace(")", "%29")
    return f"[{text}]({target})"


def escape(text: str) -> str:
    """Text that cannot leave its Markdown cell: no new row, column, link or tag."""
    flat = re.sub(r"\s+", " ", text)
    return re.sub(r"([\\|\[\]<>`*])", r"\\\1", flat)
