"""A model card: summary, how to load and train the model, citation, results with ranks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from benchmarks.contract.result import Result
from reports.pages.about import about
from reports.pages.markdown import escape
from reports.pages.rank import results
from reports.records import PRETRAIN
from reports.tables.cells import Missing, Row
from reports.tables.comparable import differences
from reports.tables.marks import method
from reports.view import View, facts, pretraining

NONE = "–"
PARTS = (("GPUs", "energy_gpu_j"), ("processors", "energy_cpu_j"))


def card(view: View, model: str) -> str:
    """The card of a model as Markdown. Raises Fault on an unknown model."""
    row = view.row(model)
    said = about(method(row))
    parts = [f"# {escape(said.name)}: {escape(model)}", said.abstract, "## Summary", summary(row)]
    parts += ["## How do I load this model?", *_load(row)]
    parts += ["## How do I train this model?", train(view, row)]
    if said.bibtex:
        parts += ["## Citation", f"```bibtex\n{said.bibtex}\n```"]
    parts += ["## Results", results(view, row)]
    return "\n\n".join(parts)


def summary(row: Row) -> str:
    """The table of facts."""
    lines = ["| | |", "| --- | --- |"]
    lines += [f"| {name} | {escape(value) or NONE} |" for name, value in fields(facts(row) | _energy(row))]
    return "\n".join(lines)


def fields(card: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, value) in the order of the classic cards; '' for what is not known."""
    got = card.get
    yield "Parameters", _parameters(card)
    macs = got("macs")
    yield "FLOPs", f"{_short(2 * macs)} ({_short(macs)} multiply-adds)" if macs else ""
    yield "File Size", f"{got('file_mib'):.2f} MiB" if got("file_mib") else ""
    images = f" ({got('images'):,} images)" if got("images") else ""
    yield "Training Data", f"{got('training_data', '')}{images}"
    yield "Training Resources", f"{got('processes')}x {got('device')}" if got("processes") else ""
    yield "Training Time", _time(card)
    if got("energy_j"):
        yield "Energy", _joules(card)
    yield "Training Techniques", ", ".join(got("techniques") or ())
    yield "Architecture", ", ".join(got("architecture") or ())
    yield "ID", str(got("id", ""))
    yield "LR", _rate(card)
    for name in ("epochs", "layers", "classes", "momentum", "weight_decay", "width_multiplier"):
        yield name.replace("_", " ").title(), _number(got(name))
    if got("temperature") is not None:
        yield f"{got('method')} Loss Temperature", _number(got("temperature"))


def _energy(row: Row) -> dict[str, float]:
    """Joules of the processors and cards that were there while a model was trained, where they were read."""
    record = pretraining(row)
    cost = record.cost if record else {}
    found = {"energy_gpu_j": cost.get("energy_gpu_j", 0.0), "energy_cpu_j": cost.get("energy_cpu_j", 0.0)}
    return {"energy_j": sum(found.values()), **found}


def _joules(card: dict[str, Any]) -> str:
    """In kWh, and what of it is whose."""
    parts = [f"{word} {card[name] / 3.6e6:.3g}" for word, name in PARTS if card.get(name)]
    return f"{card['energy_j'] / 3.6e6:.3g} kWh ({', '.join(parts)}; all that ran there)"


def _parameters(card: dict[str, Any]) -> str:
    count, whole = card.get("parameters"), card.get("parameters_with_classifier")
    if not count:
        return ""
    more = f"; {whole:,} with a classifier" if whole and whole != count else ""
    return f"{_short(count)} ({count:,}{more})"


def _short(count: float) -> str:
    """26 Million, 4 Billion; two digits of what is small."""
    for word, unit in (("Billion", 1e9), ("Million", 1e6), ("Thousand", 1e3)):
        if count >= unit:
            digits = 0 if count >= 10 * unit else 1
            return f"{count / unit:.{digits}f} {word}"
    return str(count)


def _time(card: dict[str, Any]) -> str:
    seconds = card.get("seconds")
    if not seconds:
        return ""
    hours, rest = divmod(round(seconds), 3600)
    said = f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
    return f"{said} ({card.get('device_hours', 0):.2f} device hours)"


def _rate(card: dict[str, Any]) -> str:
    """As the cards have it: per 256 images, and what it is at the batch that was trained with."""
    if not card.get("epochs"):
        return ""
    return f"{card.get('lr_per_256', 0):.4g} per 256 images ({card.get('lr', 0):.4g} at batch {card.get('batch_size')})"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _load(row: Row) -> Iterator[str]:
    if row.weights is None:
        yield "Its weights are not there."
        return
    side = _side(pretraining(row)) or 224
    yield (
        "Preprocessing travels with the weights: `net.input` says size, mean and std. Images come normalised; what "
        "comes back are globally averaged features, and `net.stages(images)` gives the five maps."
    )
    lines = [
        "from pathlib import Path",
        "",
        "import torch",
        "",
        "from pretrain.nets import checkpoint",
        "",
        f"net = checkpoint.load(Path({json.dumps(str(row.weights))})).eval()",
        f"features = net(torch.zeros(1, 3, {side}, {side}))",
    ]
    yield "```python\n" + "\n".join(lines) + "\n```"


def _side(record: Result | None) -> int | None:
    settings = record.protocol.get("settings") if record else None
    found = settings.get("input", {}).get("size") if isinstance(settings, dict) else None
    return int(found) if found else None


def train(view: View, row: Row) -> str:
    """The command that trains the model again, with every setting that is not its recipe's."""
    record, found = pretraining(row), row.found(PRETRAIN)
    if record is None and isinstance(found, Missing) and PRETRAIN in row.records:
        return escape(f"No record says how it was trained: {found.word}: {found.why}")
    if record is None or not record.protocol.get("settings"):
        return "It was not trained here: its weights were given as a file."
    recipe = str(record.model.get("recipe", row.model))
    named = row.model in (recipe, method(row))  # by the zoo, and not by --as
    words = ["zoo", "run", row.model if named else recipe, "--benchmarks", "none", "--suite", view.suite]
    words += [] if named else ["--as", row.model]
    if record.seed:
        words += ["--seeds", str(record.seed)]
    changed = dict(differences(record))
    changed.pop("config", None)  # which says no more than what was changed, and some methods refuse it
    for path, value in changed.items():
        words += ["--set", f"{method(row)}.{path}={json.dumps(value)}"]
    return f"```bash\n{shlex.join(words)}\n```"
