"""Pretrainings that have no record yet: their curves so far."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.contract.result import NAME as RECORD
from pretrain.base.faults import printable
from reports.html import curves, figures
from reports.html.chart import said
from reports.html.places import filed
from reports.tables.cells import NAME


def shown(home: Path) -> Iterator[dict[str, Any]]:
    """What templates say of every folder of a model that has metrics and no record."""
    for path in sorted(home.glob(f"models/*/{curves.NAME}")):
        folder = path.parent
        if not (folder / RECORD).exists() and (run := curves.read(path, figures.WANTED)):
            yield {
                "name": printable(folder.name, NAME),
                "href": f"running/{filed(folder.name)}.html",
                "said": _said(run),
                "charts": figures.charts([run]),
            }


def _said(run: dict[str, curves.Curve]) -> str:
    """How far it is, in words."""
    epoch = max(max(curve) for curve in run.values())
    loss = run.get("loss", {}).get(epoch)
    return f"epoch {said(epoch)}" + (f", loss {said(loss)}" if loss is not None else "")
