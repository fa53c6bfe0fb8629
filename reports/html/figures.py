"""What a model's records and curves show as charts: its training, low-shot and layer curves, its classes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.result import Result
from reports.html import curves
from reports.html.chart import Chart, Series
from reports.records import PRETRAIN
from reports.tables.beside import ALWAYS
from reports.tables.cells import Found, Missing, Row, over_seeds, scored
from reports.tables.comparable import other_rule
from reports.tables.marks import method
from reports.tables.published import sources
from reports.view import View

SHOTS = re.compile(r"k(\d{1,6})")  # a score per number of examples
LAYER = re.compile(r"(?:feature|conv|res)(\d)_(?:top1|mAP)", re.IGNORECASE)  # a score per stage
CLASSES = 2000  # bars at most
TRAINING = (  # title, y, curves by label, logarithmic
    ("Loss", "loss", {"loss": "loss"}, False),
    (
        "Agreement of the clusters",
        "0 to 1",
        {
            "nmi_previous": "NMI with the epoch before",
            "ami_previous": "AMI with the epoch before",
            "nmi_classes": "NMI with the classes",
            "ami_classes": "AMI with the classes",
            "purity": "purity",
            "chance_nmi_previous": "NMI of chance, epoch before",
            "chance_nmi_classes": "NMI of chance, classes",
        },
        False,
    ),
    (
        "Cluster sizes",
        "images per cluster",
        {
            "size_max": "largest",
            "size_p99": "99th percentile",
            "size_p50": "median",
            "size_p1": "1st percentile",
            "size_min": "smallest",
        },
        True,
    ),
    ("Labels in motion", "fraction", {"changed": "changed labels", "size_empty": "empty clusters"}, False),
    ("Effective rank of the features", "rank", {"effective_rank": "effective rank"}, False),
    ("Learning rate", "learning rate", {"lr": "learning rate"}, False),
)


def found(row: Row, protocol: str) -> Found:
    """The records of a protocol that have succeeded, one per seed."""
    records = row.found(protocol)
    return () if isinstance(records, Missing) else records


def training(row: Row) -> list[Chart]:
    """The curves of a pretraining, means over its seeds."""
    records = found(row, PRETRAIN)
    return charts([run for path, _ in records if (run := curves.read(path.parent / curves.NAME, WANTED))])


def charts(runs: Sequence[Mapping[str, curves.Curve]]) -> list[Chart]:
    """The charts of some runs of one training."""
    note = (
        f"Mean of {len(runs)} seeds; the band reaches from the lowest to the highest."
        if len(runs) > 1
        else ""
    )
    made = (
        Chart(title, "epoch", y, curves.group(runs, wanted), note, log_y=log)
        for title, y, wanted, log in TRAINING
    )
    return [chart for chart in made if chart.series]


def shots(view: View, row: Row) -> list[Chart]:
    """A curve over the number of examples per class with its spread, published ones behind it."""
    return [chart for protocol in view.protocols if (chart := _shots(row, protocol)) is not None]


def _shots(row: Row, protocol: Protocol) -> Chart | None:
    names = {c.score: int(m[1]) for c in protocol.columns if (m := SHOTS.fullmatch(c.score)) and int(m[1])}
    records = [record for _, record in found(row, protocol.name)]
    points = {k: _over(records, name) for name, k in sorted(names.items(), key=lambda one: one[1])}
    known = [(k, *value) for k, value in points.items() if value]
    if len(known) < 2:
        return None
    ours = Series(row.model, [(k, v) for k, v, _ in known], [(v - s, v + s) for _, v, s in known])
    kind = "over seeds" if len(records) > 1 else _kind(records[0], names)
    behind = list(_published(row, protocol, names))
    note = f"Bands: one standard deviation {kind}." + _warning(row, protocol, bool(behind))
    return Chart(
        protocol.title or protocol.name,
        "examples per class",
        "%",
        [ours, *behind],
        note,
        log_x=True,
        marks=True,
    )


def _over(records: Sequence[Result], name: str) -> tuple[float, float] | None:
    """Mean and standard deviation over seeds; of one seed, over its own repeats."""
    scores = scored(records, name)
    if not scores or len(scores) < len(records):
        return None
    values, _ = over_seeds(records, name)
    own = scores[0].spread.std if scores[0].spread else 0.0
    return fmean(values), stdev(values) if len(values) > 1 else own


def _kind(record: Result, names: Mapping[str, int]) -> str:
    kinds = {s.spread.kind for name in names if (s := record.score(name)) and s.spread}
    return f"over {', '.join(sorted(kinds))}" if kinds else "(none is known)"


def _published(row: Row, protocol: Protocol, names: Mapping[str, int]) -> Iterator[Series]:
    """A quiet curve per published model of the same method, of the source that is named first."""
    listed = sources(protocol.name)
    seen = set[tuple[str, int | None]]()
    for one in listed.rows if listed else ():
        if one.method in {method(row), *ALWAYS} and (one.model, one.epochs) not in seen and not one.differs:
            seen.add((one.model, one.epochs))
            points = [(k, float(one.values[n])) for n, k in names.items() if n in one.values]
            epochs = f", {one.epochs} epochs" if one.epochs else ""
            yield Series(f"{one.model}{epochs}, published in {one.source}", sorted(points), (), True)


def _warning(row: Row, protocol: Protocol, behind: bool) -> str:
    listed = sources(protocol.name)
    why = other_rule(row, protocol, listed) if listed and behind else ""
    return f" The published curves are not to be compared with this one: {why}." if why else ""


def layers(view: View, row: Row) -> Chart | None:
    """Accuracy by the stage that features are taken from, a curve per protocol."""
    series = [one for protocol in view.protocols if (one := _layers(row, protocol)) is not None]
    if not series:
        return None
    return Chart("Layer profile", "stage of the backbone", "%", series, "Means over seeds.", marks=True)


def _layers(row: Row, protocol: Protocol) -> Series | None:
    records = [record for _, record in found(row, protocol.name)]
    stages: dict[int, list[float]] = {}
    for score in (score for record in records for score in record.metrics):
        if (match := LAYER.fullmatch(score.name)) and score.selection is None:
            stages.setdefault(int(match[1]), []).append(score.value)
    if len(stages) < 2:
        return None
    return Series(protocol.title or protocol.name, [(n, fmean(stages[n])) for n in sorted(stages)])


WANTED = {name for _, _, wanted, _ in TRAINING for name in wanted}


class Bars(NamedTuple):
    """A number per class. rows: (class, value, percent of the longest bar); left: classes not shown."""

    path: Path
    record: Result
    rows: Sequence[tuple[str, float, float]]
    left: int


def bars(row: Row) -> Iterator[Bars]:
    """The bars of every record that keeps a number per class."""
    for path, record in (one for name in row.records for one in found(row, name)):
        if kept := _classes(record):
            top = max(abs(value) for _, value in kept) or 1.0
            shown = [(name, value, round(100 * max(value, 0.0) / top, 2)) for name, value in kept[:CLASSES]]
            yield Bars(path, record, shown, len(kept) - len(shown))


def _classes(record: Result) -> list[tuple[str, float]]:
    """The classes of a record with their numbers, the best first."""
    kept = record.facts.get("per_class")
    pairs = kept.items() if isinstance(kept, dict) else ()
    good = [(str(name), float(v)) for name, v in pairs if _number(v)]
    return sorted(good, key=lambda one: (-one[1], one[0]))


def _number(value: object) -> bool:
    whole = isinstance(value, int | float) and not isinstance(value, bool)
    return whole and abs(value) < 1e300 and math.isfinite(value)  # type: ignore[arg-type]
