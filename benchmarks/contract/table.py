"""Where a protocol's numbers stand on the zoo's pages: its table, its columns, its row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """heading: as the pages have it; score: name of the score
    shown; show: its value, or what was chosen for it.
    """

    heading: str
    score: str
    digits: int = 2
    show: Literal["value", "choice"] = "value"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the pages. Protocols of one table stand side by side in a row, or in rows of their own.

    section: heading above it, such as "Detection"; config: heading of the column with the recipe's name.
    """

    heading: str
    section: str = "Classification"
    intro: str = ""
    config: str = "Config"
