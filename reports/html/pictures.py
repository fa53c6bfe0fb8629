"""Pictures that jobs have kept beside their records, as a model's page shows them: galleries of clusters,
maps of features, tables of confusions, drawn test images.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmarks.contract.pictures import (
    COLUMNS,
    FOLDER,
    Confusion,
    Drawn,
    Gallery,
    Kind,
    Map,
    jpeg,
    load,
)
from pretrain.base.faults import printable
from reports.html.figures import found
from reports.html.places import Places
from reports.html.record import title
from reports.records import PRETRAIN, seeds
from reports.tables.cells import NAME, Row

SIDE = 100.0  # of a map, in its own units
TURN = 137.508  # degrees of hue between two classes: the golden angle keeps neighbours apart
SHADES = 9  # of a table of confusions, beside none


def shown(row: Row, places: Places) -> Iterator[dict[str, Any]]:
    """What the template shows per protocol: the pictures of the first seed that has kept some."""
    for name in row.records:
        for path, record in found(row, name) if name != PRETRAIN else ():
            if pictures := load(path.parent / FOLDER):
                head = {
                    "title": title(record),
                    "seed": seeds(record.trained, record.seed),
                    "href": places.record(path),
                }
                yield {**head, "key": places.anchor(path), **_parts(pictures, path.parent / FOLDER)}
                break


def _parts(pictures: dict[str, Kind], folder: Path) -> dict[str, Any]:
    made: dict[str, Any] = dict.fromkeys(("gallery", "map", "confusion", "drawn"))
    for name, picture in pictures.items():
        if isinstance(picture, Gallery):
            made[name] = _gallery(picture, folder)
        elif isinstance(picture, Map):
            made[name] = _map(picture)
        elif isinstance(picture, Confusion):
            made[name] = _confusion(picture)
        elif isinstance(picture, Drawn):
            made[name] = _drawn(picture, folder)
    return made


def _gallery(one: Gallery, folder: Path) -> dict[str, Any] | None:
    sheet = embedded(folder / one.sheet)
    if sheet is None or not one.clusters:
        return None
    rows = [
        {
            "words": f"{c.size:,} images, {100 * c.purity:.0f} % of class {printable(c.majority, NAME)}",
            "y": i * one.side,
            "nearest": c.nearest * one.side,
            "random": max(0, c.shown - c.nearest) * one.side,
        }
        for i, c in enumerate(one.clusters)
    ]
    width, height = COLUMNS * one.side, len(rows) * one.side
    said = {"how": one.how, "of": one.of, "side": one.side}
    return {**said, "sheet": sheet, "width": width, "height": height, "rows": rows}


def _map(one: Map) -> dict[str, Any] | None:
    """The points as SVG says them, a group per class."""
    groups: dict[int, list[str]] = {}
    for x, y, label in zip(one.x, one.y, one.label, strict=True):
        places = f'cx="{2 + 96 * x:.2f}" cy="{SIDE - 2 - 96 * y:.2f}"'
        groups.setdefault(label, []).append(f'<circle {places} r="1"/>')
    classes = [
        {
            "name": printable(one.classes[label], NAME),
            "hue": round(label * TURN % 360),
            "count": len(groups[label]),
            "points": Markup("".join(groups[label])),  # numbers alone
        }
        for label in sorted(groups)
    ]
    return {"how": one.how, "of": one.of, "shown": len(one.x), "classes": classes} if classes else None


def _confusion(one: Confusion) -> dict[str, Any]:
    rows = []
    for i, counts in enumerate(one.counts):
        total = sum(counts) + one.others[i]
        cells = [(n, _shade(n, total), i == j) for j, n in enumerate(counts)]
        rows.append({"name": printable(one.classes[i], NAME), "cells": cells, "others": one.others[i]})
    names = [printable(name, NAME) for name in one.classes]
    return {"how": one.how, "of": one.of, "names": names, "rows": rows, "rest": any(one.others)}


def _shade(count: int, total: int) -> int:
    """The darker, the larger the share of a row; 0 for none."""
    return min(SHADES, 1 + int(SHADES * count / total)) if count else 0


def _drawn(one: Drawn, folder: Path) -> dict[str, Any] | None:
    images = [(embedded(folder / d.file), d.words) for d in one.images]
    kept = [(data, printable(words, 1000)) for data, words in images if data is not None]
    return {"how": one.how, "images": kept} if kept else None


def embedded(path: Path) -> Markup | None:
    """A JPEG file as an address that holds it: a page needs no other file, and none of anywhere else."""
    content = jpeg(path)
    if content is None:
        return None
    return Markup("data:image/jpeg;base64," + base64.b64encode(content).decode("ascii"))
