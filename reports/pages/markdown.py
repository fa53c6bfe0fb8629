"""Tables as a page of GitHub Markdown. No torch here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from pretrain.base.faults import LONGEST, printable
from reports.tables.cells import Cell
from reports.tables.fill import Filled


def page(tables: Sequence[Filled], title: str, remark: str, beside: Path) -> str:
    """The page as GitHub Markdown; links are relative to the folder `beside`."""
    parts, section = [f"# {escape(title)}", escape(remark)], ""
    for filled in tables:
        if filled.table.section != section:
            section = filled.table.section
            parts.append(f"## {escape(section)}")
        parts += [f"### {escape(filled.table.heading)}", filled.table.intro, block(filled, beside)]
    return "\n\n".join(part for part in parts if part) + "\n"


def block(filled: Filled, beside: Path) -> str:
    """A table with its notes, and the published numbers below it with theirs."""
    notes = "\n".join(f"- {escape(note)}" for note in filled.notes)
    below = block(filled.published, beside) if filled.published else ""
    return "\n\n".join(part for part in (_grid(filled, beside), notes, below) if part)


def _grid(filled: Filled, beside: Path) -> str:
    lines = [[escape(column) for column in filled.columns], ["---"] * len(filled.columns)]
    lines += [[_linked(cell, beside) for cell in row] for row in filled.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _linked(cell: Cell, beside: Path) -> str:
    text = _marked(escape(cell.text), cell)
    gain = f" <sub>{escape(cell.gain)}</sub>" if cell.gain else ""
    if cell.link is None:
        return text + gain
    links = [f"[{i}]({_target(path, beside)})" for i, path in enumerate(cell.more, start=2)]
    return " ".join([f"[{text}]({_target(cell.link, beside)})", *links]) + gain


def _marked(text: str, cell: Cell) -> str:
    """Bold for the best. Grey where styles are allowed; GitHub leaves them out, so it is in italics, too."""
    if cell.mark == "best":
        return f"**{text}**"
    return f'<i style="color:gray">{text}</i>' if cell.mark == "grey" and text else text


def _target(path: Path, beside: Path) -> str:
    return quote(os.path.relpath(path, beside).encode(errors="surrogateescape"))


def escape(text: str) -> str:
    """Text that cannot leave its Markdown cell: no new row, column, link, tag, formula or emphasis."""
    flat = printable(re.sub(r"\s+", " ", text), LONGEST)
    flat = re.sub(r"([\\|\[\]<>`*~$])", r"\\\1", flat)
    flat = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", flat)  # inside of a word it is no emphasis
    flat = re.sub(r"&(?=#?\w+;)", r"\\&", flat)
    flat = re.sub(r"(?i)(https?|ftp|mailto|xmpp):", r"\1\\:", flat)  # GitHub makes links of bare addresses
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", flat)
