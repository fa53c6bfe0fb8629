"""What the page that compares two models computes with: every number and setting of every model."""

from __future__ import annotations

from typing import Any

from pretrain.base.faults import printable
from pretrain.base.settings import lines
from reports.html.grid import Grid
from reports.html.places import Places, filed
from reports.tables.alike import word
from reports.tables.cells import NAME, Cell, Row
from reports.view import pretraining

SETTINGS = 300  # of a model


def data(grid: Grid, places: Places) -> dict[str, Any]:
    """JSON of the page. cells: per column text, link, unrounded value and a word that is the same where
    values may be compared; null where nobody asked for it.
    """
    parts = [(sheet, part) for sheet in grid.sheets for part in sheet.parts]
    columns = [
        {
            "where": printable(f"{protocol.title or protocol.name}", NAME),
            "name": printable(f"{part.kind}: {column.heading}" if part.kind else column.heading, NAME),
            "digits": column.digits,
            "better": _better([cells[i] for cells in part.cells]),
        }
        for _, part in parts
        for i, (protocol, column) in enumerate(part.columns)
    ]
    protocols = {protocol.name: protocol for _, part in parts for protocol, _ in part.columns}
    models = []
    for i, row in enumerate(grid.rows):
        words = {name: word(row, protocol) for name, protocol in protocols.items()}
        cells = [
            _cell(cell, words[protocol.name], places)
            for _, part in parts
            for cell, (protocol, _) in zip(part.cells[i], part.columns, strict=True)
        ]
        models.append(_model(row, cells))
    return {"columns": columns, "models": models}


def _better(cells: list[Cell]) -> str:
    return next((cell.better for cell in cells if cell.better), "")


def _model(row: Row, cells: list[dict[str, Any] | None]) -> dict[str, Any]:
    record = pretraining(row)
    settings = record.protocol.get("settings") if record else None
    return {
        "key": filed(row.model),
        "name": printable(row.model, NAME),
        "set": dict(_setting(*one) for one in list(lines(settings))[:SETTINGS]) if settings else {},
        "cells": cells,
    }


def _setting(path: str, value: Any) -> tuple[str, str]:
    return printable(path, NAME), printable(str(value), NAME)


def _cell(cell: Cell, alike: str, places: Places) -> dict[str, Any] | None:
    if cell.link is None:
        return None
    made: dict[str, Any] = {"t": printable(cell.text, NAME), "h": places.record(cell.link)}
    return made if cell.value is None else {**made, "v": cell.value, "r": alike}
