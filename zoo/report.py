"""`zoo report`: the tables and pages of a suite, from its records alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pretrain.base.faults import Fault
from reports import site
from reports.exports import Format, export, save
from reports.view import View
from zoo.kept import kept
from zoo.options import AsJson, Out, Sets, SuiteOption
from zoo.plan.counted import counted
from zoo.plan.planner import Planner
from zoo.request import everything
from zoo.show import tables

Pages = Annotated[
    list[Path] | None, typer.Option("--page", help="A Markdown file with <!-- zoo:begin --> markers to fill.")
]
Folder = Annotated[
    Path | None, typer.Option("--pages", help="Folder of pages: a summary, one per method, cards.")
]
Check = Annotated[bool, typer.Option("--check", help="Write nothing; exit 5 where a page is out of date.")]
Html = Annotated[
    Path | None, typer.Option("--html", help="Folder of a static site: tables, curves, comparison.")
]
Form = Annotated[Format | None, typer.Option("--format", help=Format.__doc__)]
File = Annotated[Path | None, typer.Option("--to", help="File of the export; without it, stdout.")]


def command(
    suite: SuiteOption = "demo",
    out: Out = None,
    sets: Sets = None,
    page: Pages = None,
    pages: Folder = None,
    check: Check = False,
    html: Html = None,
    form: Form = None,
    to: File = None,
    json: AsJson = False,
) -> None:
    """The tables of a suite; its pages and cards; exports. From records: no data, no weights, no torch."""
    _sensible(check, bool(page or pages), bool(form or html), to, form, json)
    request = everything(suite, out, sets or [])
    records, damaged = kept(request.store.home)
    if form or html or page or pages:
        view = View(records, request.protocols, suite, counted(request), damaged)
        if form:
            _exported(view, form, to, request.store.home)
        if html:
            _built(view, html, request.store.home)
        _brought(view, page or [], pages, check)
        return
    plan = Planner(request).plan()
    tables.show(plan, tables.begun(plan), as_json=json)
    try:
        tables.write(plan)
    except Fault as fault:  # a share that is read-only: what was printed is all that was asked for
        print(f"not kept: {fault}", file=sys.stderr)


def _sensible(
    check: bool, pages: bool, others: bool, to: Path | None, form: Format | None, json: bool
) -> None:
    """Raises Fault on options that would be asked for and not heeded."""
    if json and (pages or others):
        said = "--json prints records instead of tables: it takes no --page, --pages, --html or --format"
        raise Fault("bad-config", f"{said}; --format json exports a row per score")
    if check and (others or not pages):
        said = (
            "--check writes nothing and looks at pages: it takes --page or --pages, and no --html or --format"
        )
        raise Fault("bad-config", said)
    if to and not form:
        raise Fault(
            "bad-config", f"--to {to} names the file of an export; add --format, such as --format csv"
        )


def _built(view: View, folder: Path, home: Path) -> None:
    from reports.html.site import write  # jinja2 is needed here alone

    written = write(view, folder, home)
    print(f"written: {folder / 'index.html'} and {len(written) - 1} pages more")


def _brought(view: View, page: list[Path], pages: Path | None, check: bool) -> None:
    changed = site.bring(view, page, pages, check)
    for path in changed:
        print(f"{'out of date' if check else 'written'}: {path}")
    if check and changed:
        raise typer.Exit(site.DIFFERS)


def _exported(view: View, form: Format, to: Path | None, home: Path) -> None:
    tables = [view.filled(table) for table in view.tables()]
    data = export(form, view.records, tables, f"Model zoo, suite {view.suite}", to.parent if to else home)
    if to is None:
        sys.stdout.buffer.write(data)
        return
    save(to, data)
    print(f"written: {to}")
