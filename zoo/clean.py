"""`zoo clean`: removes what can be computed again, and says how much room that gives."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from benchmarks import shelf
from pretrain.base.faults import Fault
from zoo.options import Out, SuiteOption
from zoo.store import Store
from zoo.suites import builtin


def command(
    suite: SuiteOption = "demo",
    out: Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, remove nothing.")] = False,
) -> None:
    """Remove the cached features of a suite. Records and weights stay, and what a running job uses."""
    home = builtin.home(suite, out)
    place = Store(home).features
    before = shelf.kept(place)
    gone = shelf.clean(place, dry_run=dry_run)
    for one in gone:
        typer.echo(f"{size(one.bytes):>10}  {one.path.relative_to(home)}  {one.said}")
    verb = "would free" if dry_run else "freed"
    typer.echo(f"{verb} {size(sum(one.bytes for one in gone))} in {len(gone)} caches of {home}")
    went = {one.path for one in gone}
    stay = [one.path for one in before if one.path not in went]
    barred = [path for path in stay if not os.access(path.parent, os.W_OK)]
    if used := len(stay) - len(barred):
        typer.echo(f"{used} in use by a running job stay")
    if barred:
        said = f"{len(barred)} stay: {barred[0].parent} cannot be written"
        raise Fault("bad-config", f"{said}; call the command where, and as who, that is possible")


def size(count: int) -> str:
    """Bytes for people: 1.8 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
