"""Cells of tables with links into the site."""

from __future__ import annotations

from typing import Any

from reports.html.places import Places
from reports.tables.cells import Cell, Row


def linked(cell: Cell, row: Row, places: Places) -> dict[str, Any]:
    """A cell as templates take it: a number links to its record, a word for a missing one to the records."""
    own = places.record(cell.link) if cell.link else ""
    asked = cell.text not in ("not asked", "–")
    return {
        "text": cell.text or "–",
        "href": own or (places.of(row.model) if asked else ""),
        "more": [href for path in cell.more if (href := places.record(path))],
        "value": cell.value,
        "gain": cell.gain,
        "mark": cell.mark,
    }
