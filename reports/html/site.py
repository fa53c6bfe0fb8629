"""`zoo report --html`: a folder of static pages that need nothing but a browser."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pretrain.base import files
from pretrain.base.faults import LONGEST, Fault, printable
from reports.html import compare, model, overview, record, running
from reports.html.grid import Grid
from reports.html.places import COMPARE, OVERVIEW, Places, names
from reports.html.templating import Templates, as_json
from reports.records import Kept, current
from reports.view import View

OURS = (  # what the first page of a site of ours says; the second one also before it had the first
    b'<meta name="generator" content="cluster-zoo">',
    b"Every number links to its record.</p></footer>",
)


def write(view: View, folder: Path, store: Path) -> list[Path]:
    """Writes the site of a view into a folder and returns its files: index.html, compare.html, and a page of
    figures and one of records per model.

    store: the home that the records lie in; their paths are told from there. Same records, same bytes. Pages
    of models that are gone stay until they are removed by hand. Raises Fault where a file cannot be written,
    or the folder holds something else than a site.
    """
    with files.explained(folder):
        _vacant(folder)
    return [_saved(folder / name, page) for name, page in pages(view, store)]


def _vacant(folder: Path) -> None:
    """Raises Fault unless a site can be written without loss: over one of ours, or where there is nothing."""
    index = folder / OVERVIEW
    if not folder.is_dir() or (index.is_file() and any(mark in index.read_bytes() for mark in OURS)):
        return
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if others:
        shown = printable(", ".join(others[:3]), LONGEST)
        raise Fault("bad-config", f"--html {folder} holds other files ({shown}); name a new folder")


def pages(view: View, store: Path, live: bool = False) -> Iterator[tuple[str, bytes]]:
    """(path in the site, content) of every page. live: they ask their server for newer ones, and show
    pretrainings that have not ended.
    """
    places = Places(names(view.records), view.records, store)
    grid, records = Grid(view), _by_model(view.records)
    shown = {path for path, _ in current(view.records, view.planned)}
    templates = Templates(_common(view), live)
    top: dict[str, Any] = {"up": ""}
    below: dict[str, Any] = {"up": "../", "here": ""}
    begun = list(running.shown(store)) if live else []
    said = overview.words(grid, places, records) | {"running": begun}
    yield OVERVIEW, templates.render("overview.html", title="Model zoo", here="index", **top, **said)
    for one in begun:
        yield one["href"], templates.render("running.html", title=one["name"], **below, **one)
    data = as_json(compare.data(grid, places))
    yield (
        COMPARE,
        templates.render("compare.html", title="Compare two models", here="compare", data=data, **top),
    )
    for i, row in enumerate(grid.rows):
        said = model.words(grid, i, places, len(records[row.model]))
        yield places.model(row.model), templates.render("model.html", title=row.model, **below, **said)
    for name, kept in records.items():
        yield (
            places.of(name),
            templates.render(
                "records.html",
                script=False,
                title=f"Records of {name}",
                name=name,
                model=places.model(name),
                records=record.shown(kept, shown, places),
                **below,
            ),
        )


def _common(view: View) -> dict[str, Any]:
    """What every page says."""
    newest = max((r.time.get("end", "") for _, r in view.records), default="")
    return {"suite": view.suite, "count": len(view.records), "newest": newest}


def _by_model(records: Kept) -> dict[str, Kept]:
    found: dict[str, list[Any]] = {}
    for path, one in records:
        found.setdefault(str(one.model.get("name", "")), []).append((path, one))
    return dict(found)


def _saved(path: Path, page: bytes) -> Path:
    files.write(path, partial(_bytes, page))
    return path


def _bytes(page: bytes, path: Path) -> None:
    path.write_bytes(page)
