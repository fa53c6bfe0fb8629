"""The overview: every model, every table, with what has been published of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pretrain.base.faults import printable
from reports.html.grid import Grid, Sheet
from reports.html.linked import linked
from reports.html.places import Places
from reports.records import Kept
from reports.tables.cells import NAME, Missing, Row
from reports.tables.marks import method
from reports.view import facts


def words(grid: Grid, places: Places, records: dict[str, Kept]) -> dict[str, Any]:
    """What the template of the overview says. records: by model, older ones too."""
    return {
        "models": [_model(row, places, records) for row in grid.rows],
        "methods": sorted({printable(method(row), NAME) for row in grid.rows}),
        "sheets": [_sheet(sheet, grid, places) for sheet in grid.sheets],
    }


def _model(row: Row, places: Places, records: dict[str, Kept]) -> dict[str, Any]:
    kept = records[row.model]
    known = facts(row)
    count = known.get("parameters")
    return {
        "name": printable(row.model, NAME),
        "href": places.model(row.model),
        "records": places.of(row.model),
        "method": printable(method(row), NAME),
        "config": printable(row.config, NAME),
        "epochs": str(known.get("epochs") or "–"),
        "parameters": count if isinstance(count, int) else None,
        "seeds": len({record.trained for _, record in kept}),
        "count": len(kept),
        "failed": sum(isinstance(one, Missing) and one.word == "failed" for one in row.records.values()),
    }


def _sheet(sheet: Sheet, grid: Grid, places: Places) -> dict[str, Any]:
    return {
        "table": sheet.table,
        "headings": sheet.headings,
        "parts": sheet.parts,
        "notes": sheet.notes,
        "published": sheet.published,
        "rows": list(_rows(sheet, grid, places)),
    }


def _rows(sheet: Sheet, grid: Grid, places: Places) -> Iterator[dict[str, Any]]:
    for i, row in enumerate(grid.rows):
        for part in sheet.parts:
            yield {
                "name": printable(row.model, NAME),
                "href": places.model(row.model),
                "method": printable(method(row), NAME),
                "config": printable(row.config, NAME),
                "kind": part.kind,
                "measured": any(cell.value is not None for cell in part.cells[i]),
                "cells": [linked(cell, row, places) for cell in part.cells[i]],
            }
