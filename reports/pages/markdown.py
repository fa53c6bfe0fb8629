"""Tables as a page of GitHub Markdown. No torch here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from reports.tables.cells import Cell
from reports.tables.fill import Filled


def page(tables: Sequence[Filled], title: str, remark: str, beside: Path) -> str:
    """The page as GitHub Markdown; links are relative to the folder `beside`."""
    parts, section = [f"# {escape(title)}", escape(remark)], ""
    for filled in tables:
        if filled.table.section != section:
            section = filled.table.section
            parts.append(f"## {escape(section)}")
        parts += [f"### {escape(filled.table.heading)}", filled.table.intro, _grid(filled, beside)]
        parts.append("\n".join(f"- {escape(note)}" for note in filled.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def _grid(filled: Filled, beside: Path) -> str:
    lines = [[escape(column) for column in filled.columns], ["---"] * len(filled.columns)]
    lines += [[_linked(cell, beside) for cell in row] for row in filled.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
