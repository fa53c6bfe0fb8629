r"""Tables as LaTeX for booktabs: \usepackage{booktabs}. No torch here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pretrain.base.faults import LONGEST, printable
from reports.tables.cells import Cell
from reports.tables.fill import Filled

HEAD = "% \\usepackage{booktabs,xcolor}"
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "≠": r"$\neq$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def page(tables: Sequence[Filled]) -> str:
    """A table environment per table, and one for what has been published of it."""
    parts = [HEAD]
    for filled in tables:
        parts.append(_table(filled, filled.table.heading))
        if filled.published:
            parts.append(_table(filled.published, f"{filled.table.heading}, published"))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    flat = printable(re.sub(r"\s+", " ", text), LONGEST)
    return re.sub(r".", lambda found: SPECIAL.get(found[0], found[0]), flat)


def _table(filled: Filled, heading: str) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(heading)}}}",
        rf"\begin{{tabular}}{{ll{'r' * (len(filled.columns) - 2)}}}",
        r"\toprule",
        _row([escape(column) for column in filled.columns]),
        r"\midrule",
        *(_row([_marked(cell) for cell in row]) for row in filled.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(f"% {escape(note)}" for note in filled.notes),
        r"\end{table}",
    ]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _marked(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.mark == "best":
        return rf"\textbf{{{text}}}"
    return rf"\textcolor{{gray}}{{{text}}}" if cell.mark == "grey" and text else text
