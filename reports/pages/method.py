"""A page per method: title, abstract, citation, and 'Models and Benchmarks' with every table."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contract.table import Table
from reports.pages.about import MODELS, NOTES, SECTIONS, about
from reports.pages.markdown import escape
from reports.pages.markers import marked
from reports.view import View, facts

ZOO = "model_zoo.md"
TRAINED = "trained"  # name of the list of what models were trained on
PLAIN = "Classification"  # the section whose tables stand on the page without a heading of their own


def page(view: View, method: str) -> str:
    """The page with empty tables between markers."""
    said = about(method)
    parts = [f"# {escape(said.name)}"]
    if said.title:
        parts.append(f"## {f'[{escape(said.title)}]({said.url})' if said.url else escape(said.title)}")
    parts.append(said.abstract)
    if said.bibtex:
        parts += ["## Citation", f"```bibtex\n{said.bibtex}\n```"]
    parts += ["## Models and Benchmarks", f"[Back to {ZOO}]({ZOO})", MODELS.format(zoo=ZOO)]
    parts.append(marked(f"table={TRAINED} method={method}"))
    section = PLAIN
    for table in view.tables():
        if table.section not in (section, PLAIN):
            parts += [f"### {escape(table.section)}", SECTIONS.get(table.section, "")]
        section = table.section
        parts += list(_table(view, table, method))
    return "\n\n".join(part for part in parts if part) + "\n"


def trained(view: View, method: str) -> str:
    """What the models were trained on, a line each."""
    cards = [(row.model, facts(row)) for row in view.models(method)]
    lines = [
        f"- {escape(model)}: pretrained on {escape(str(card['training_data']))}, {card['images']:,} images"
        for model, card in cards
        if card.get("images")
    ]
    return "\n".join(lines)


def _table(view: View, table: Table, method: str) -> Iterator[str]:
    protocols = view.protocols_of(table)
    yield f"{'###' if table.section == PLAIN else '####'} {escape(table.heading)}"
    yield table.intro
    yield "\n".join(f"- {note}" for note in NOTES.get(table.heading, ()))
    names = ",".join(p.name for p in protocols if p in view.protocols)
    if names:
        command = f"zoo plan {method} --benchmarks {names} --suite {view.suite}"
        yield f"Please refer to `{command}` for every setting."
    sources = dict.fromkeys(f"{p.source}; {p.choose}." for p in protocols)
    yield f"Protocol: {escape(' '.join(sources))}"
    yield marked(f"table={protocols[0].name} method={method}")
