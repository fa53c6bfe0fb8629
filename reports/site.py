"""Pages of a zoo: written, brought up to date between their markers, or checked against the records."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from pretrain.base import files, registry
from pretrain.base.faults import Fault, unknown
from reports.pages import card, method, summary
from reports.pages.markdown import block
from reports.pages.markers import count, marked, rewritten
from reports.tables.beside import ALWAYS
from reports.view import View

DIFFERS = 5  # exit code of a check
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
OFTEN = frozenset({"table", "method", "published"})  # what markers of a benchmark's table can say
ALONE = {summary.MODELS, summary.PAGES, *(one.name for one in summary.SUMMARIES)}  # of these nothing else
WORDS = {"card": {"table", "model"}, method.TRAINED: {"table", "method"}}  # and those of others, by name


def bring(
    view: View, pages: Iterable[Path] = (), folder: Path | None = None, check: bool = False
) -> list[Path]:
    """Brings pages up to date and returns those that were not; check: writes nothing.

    pages: Markdown files with markers; folder: of the zoo's own pages, which are made where they are not
    there: model_zoo.md, METHOD.md and cards/MODEL.md. Raises Fault on a page that is not there or whose
    markers are wrong or none, before anything is written.
    """
    wanted = {path: _text(path) for path in pages}
    for path, text in wanted.items():
        if not count(text, str(path)):
            said = "add `<!-- zoo:begin table=NAME -->` and, below it, `<!-- zoo:end -->`"
            raise Fault("bad-config", f"page {path} has no markers to fill; {said}")
    for path, fresh in (_own(view, folder) if folder else {}).items():
        wanted[path] = _text(path) if path.exists() else fresh
    made = {path: updated(text, view, path) for path, text in wanted.items()}
    changed = [path for path, text in made.items() if not path.exists() or text != _text(path)]
    for path in [] if check else changed:  # of a link, the file that it leads to
        files.write(
            Path(os.path.realpath(path)), partial(_save, made[path].encode("utf-8", "surrogateescape"))
        )
    return changed


def updated(text: str, view: View, path: Path) -> str:
    """The text of a page with fresh tables between its markers; links are relative to its folder."""

    def render(asked: Mapping[str, str]) -> str:
        _known(view, asked, str(path))
        return rendered(view, asked, path.parent)

    return rewritten(text, render, str(path))


def _known(view: View, asked: Mapping[str, str], where: str) -> None:
    """Raises Fault on a word that means nothing in a marker of its table, or has a value that it cannot."""
    words = {"table"} if asked["table"] in ALONE else WORDS.get(asked["table"], OFTEN)
    for name in asked:
        if name not in words:
            raise unknown(f"word of a marker of {asked['table']}", name, words, where)
    methods = {*view.methods, *ALWAYS, *registry.names("pretrain.methods")}
    for name, values in (("method", methods), ("published", {"yes", "no"})):
        if name in asked and asked[name] not in values:
            raise unknown(f"{name} of a marker", asked[name], values, where)


def rendered(view: View, asked: Mapping[str, str], beside: Path) -> str:
    """What stands between markers: table=BENCHMARK, summary.NAME, card, or a list."""
    name, of = asked["table"], asked.get("method", "")
    if name == "card":
        return card.card(view, asked.get("model", ""))
    special: dict[str, Callable[[], str]] = {
        summary.MODELS: lambda: block(summary.models(view), beside),
        summary.PAGES: lambda: summary.pages(view),
        method.TRAINED: lambda: method.trained(view, of),
        **{one.name: partial(_summary, view, one, beside) for one in summary.SUMMARIES},
    }
    if name in special:
        return special[name]()
    known = {protocol.name for protocol in view.every}
    if name not in known:
        raise unknown("table", name, {*known, *special, "card"})
    return block(view.filled(view.table_of(name), of, asked.get("published", "yes") != "no"), beside)


def _summary(view: View, one: summary.Summary, beside: Path) -> str:
    return block(summary.summary(view, one), beside)


def _own(view: View, folder: Path) -> dict[Path, str]:
    """The zoo's own pages with empty markers, by path."""
    names = [("model", row.model) for row in view.rows] + [("method", name) for name in view.methods]
    for kind, name in names:  # names of files to be, from records that anyone may have written
        if not SAFE.fullmatch(name):
            raise Fault("bad-config", f"{kind} name {name!r} cannot be a page's; remove its records")
    pages = {folder / method.ZOO: summary.page(view)}
    pages |= {folder / f"{name}.md": method.page(view, name) for name in view.methods}
    cards = {row.model: marked(f"table=card model={row.model}") for row in view.rows}
    return pages | {folder / "cards" / f"{model}.md": f"{text}\n" for model, text in cards.items()}


def _save(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _text(path: Path) -> str:
    """The bytes of a file as text that gives them back."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        raise Fault("data-missing", f"page {path} is not there; create it with its markers first") from None
    except OSError as error:
        raise Fault("bad-config", f"page {path} cannot be read: {error.strerror}") from error
