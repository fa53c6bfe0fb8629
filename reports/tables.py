"""Records to tables: the headings and columns of the model zoo's pages, every cell from a record or with a reason.

No torch here. A cell shows a number with the digits of its protocol, linked to its record; the mean over seeds with
its spread where there are several; otherwise the state of the job in a word, explained below the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, pstdev
from typing import NamedTuple

from benchmarks.result import Result

Found = Sequence[tuple[Path, Result]]


class Missing(NamedTuple):
    """Why there is no number: a word for the cell, a sentence for the notes."""

    word: str
    why: str


@dataclass(frozen=True)
class Row:
    """A model: its weights, its recipe's name, and per protocol its records (one per seed) or why there are none."""

    model: str
    weights: Path | None
    recipe: str
    records: Mapping[str, Found | Missing]


class Cell(NamedTuple):
    """Text of a cell and the record it comes from."""

    text: str
    link: Path | None = None


@dataclass(frozen=True)
class Table:
    """A table of the pages: heading and level, text before it, columns, and how a row of a model is filled."""

    heading: str
    level: int
    intro: str
    columns: tuple[str, ...]
    fill: Callable[[Row], list[list[Cell]]]
    protocols: tuple[str, ...]


@dataclass(frozen=True)
class Filled:
    """A table with its rows and the notes that its missing cells ask for."""

    table: Table
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)


def number(row: Row, protocol: str, metric: str, digits: int) -> Cell:
    """The cell of a metric: mean over seeds, spread if there are several, or the word of what is missing."""
    found = row.records.get(protocol, Missing("not asked", f"{protocol} was not asked for"))
    if isinstance(found, Missing):
        return Cell(found.word)
    metrics = [record.metric(metric) for _, record in found]
    values = [m.value for m in metrics if m is not None]
    if len(values) < len(metrics):
        return Cell("not in suite")
    text = f"{fmean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ± {pstdev(values):.{digits}f}"
    return Cell(text, found[0][0])


def fact(row: Row, protocol: str, name: str) -> Cell:
    """The cell of a fact; of several seeds the most frequent."""
    found = row.records.get(protocol, Missing("not asked", ""))
    if isinstance(found, Missing):
        return Cell(found.word)
    values = [str(record.facts.get(name, "absent")) for _, record in found]
    return Cell(max(values, key=values.count), found[0][0])


def identity(row: Row) -> list[Cell]:
    """The Model and Config cells."""
    pretraining = row.records.get("pretrain")
    link = pretraining[0][0] if pretraining and not isinstance(pretraining, Missing) else None
    return [Cell(row.model, row.weights), Cell(row.recipe, link)]


def _plain(protocol: str, metrics: Sequence[str], digits: int = 2) -> Callable[[Row], list[list[Cell]]]:
    return lambda row: [identity(row) + [number(row, protocol, metric, digits) for metric in metrics]]


def _svm(row: Row) -> list[list[Cell]]:
    shots = [number(row, "voc07_low_shot", f"k{k}", 2) for k in SHOTS]
    layer = fact(row, "voc07_svm", "best_layer")
    return [[*identity(row), layer, number(row, "voc07_svm", "mAP", 2), *shots]]


def _semi(row: Row) -> list[list[Cell]]:
    rows = []
    for percent in ("1", "10"):
        protocol = f"imagenet_{percent}pct"
        setting = fact(row, protocol, "setting")
        named = setting._replace(text=f"{setting.text}, {percent} %") if setting.link else setting
        rows.append([*identity(row), named, number(row, protocol, "top1", 2), number(row, protocol, "top5", 2)])
    return rows


SHOTS = (1, 2, 4, 8, 16, 32, 64, 96)
HEADS = ("Feature1", "Feature2", "Feature3", "Feature4", "Feature5", "AvgPool")
_LINEAR = tuple(f"{head}_top1" for head in HEADS)
_WHO = ("Model", "Config")


def _linear(heading: str, protocol: str, intro: str = "") -> Table:
    return Table(heading, 3, intro, (*_WHO, *HEADS), _plain(protocol, _LINEAR), (protocol,))


TABLES: tuple[Table, ...] = (
    Table(
        "VOC SVM / Low-shot SVM",
        3,
        "Best Layer names the feature map with the best SVM: feature1 is the stem, feature2 to feature5 the four "
        "stages. k is the number of positive images per class of the low-shot SVM, run on that layer.",
        (*_WHO, "Best Layer", "SVM", *(f"k={k}" for k in SHOTS)),
        _svm,
        ("voc07_svm", "voc07_low_shot"),
    ),
    _linear(
        "ImageNet Linear Evaluation",
        "imagenet_linear",
        "Feature1 to Feature5 are linear classifiers on maps pooled to about 9,000 values; AvgPool is one on the "
        "global average of the last map. Top-1 accuracy in percent.",
    ),
    _linear("iNaturalist2018 Linear Evaluation", "inat18_linear"),
    _linear("Places205 Linear Evaluation", "places205_linear"),
    Table(
        "Semi-Supervised Classification",
        4,
        "The backbone gets a linear classifier and everything is fine-tuned on 1 % or 10 % of the labels, with nine "
        "settings: three learning rates, three multipliers of it for the classifier. The best setting is shown.",
        ("Model", "Pretrain Config", "Fine-tuned Config", "Top-1 (%)", "Top-5 (%)"),
        _semi,
        ("imagenet_1pct", "imagenet_10pct"),
    ),
    Table(
        "ImageNet Nearest-Neighbor Classification",
        3,
        "Weighted nearest neighbours on the globally averaged features. Top-1 accuracy in percent.",
        (*_WHO, "k=10", "k=20", "k=100", "k=200"),
        _plain("imagenet_knn", [f"k{k}_top1" for k in (10, 20, 100, 200)], 1),
        ("imagenet_knn",),
    ),
    Table(
        "Clustering of Frozen Features",
        3,
        "Agreement of k-means clusters with the classes, in percent: normalised and adjusted mutual information, "
        "adjusted Rand index, majority-vote purity.",
        (*_WHO, "NMI", "AMI", "ARI", "Purity"),
        _plain("clustering", ["nmi", "ami", "ari", "purity"], 1),
        ("clustering",),
    ),
    Table("Detection", 3, "", (), lambda row: [], ()),
    Table(
        "Pascal VOC 2007 + 2012",
        4,
        "mAP is the mean over IoU 0.50 to 0.95, AP50 the value at 0.50.",
        (*_WHO, "mAP", "AP50"),
        _plain("voc0712_detection", ["mAP", "AP50"]),
        ("voc0712_detection",),
    ),
    Table(
        "COCO2017",
        4,
        "",
        (*_WHO, *(f"{m}({kind})" for kind in ("Box", "Mask") for m in ("mAP", "AP50", "AP75"))),
        _plain(
            "coco17_detection",
            [f"{kind}_{m}" for kind in ("box", "mask") for m in ("AP", "AP50", "AP75")],
            1,
        ),
        ("coco17_detection",),
    ),
    Table("Segmentation", 3, "", (), lambda row: [], ()),
    Table(
        "Pascal VOC 2012 + Aug",
        4,
        "",
        (*_WHO, "mIOU"),
        _plain("voc12aug_segmentation", ["mIoU"]),
        ("voc12aug_segmentation",),
    ),
    Table(
        "Cityscapes",
        4,
        "",
        (*_WHO, "mIOU"),
        _plain("cityscapes_segmentation", ["mIoU"]),
        ("cityscapes_segmentation",),
    ),
)


def fill(rows: Sequence[Row]) -> list[Filled]:
    """Every table with its rows and notes. Raises AssertionError if records of different suites meet."""
    suites = {r.suite for row in rows for f in row.records.values() if not isinstance(f, Missing) for _, r in f}
    assert len(suites) <= 1, f"records of suites {sorted(suites)} must not share a table"
    tables = [*TABLES, *_others(rows)]
    return [Filled(table, [line for row in rows for line in table.fill(row)], notes(table, rows)) for table in tables]


def _others(rows: Sequence[Row]) -> list[Table]:
    """A table for every protocol that has none among TABLES, with a column per score."""
    known = {protocol for table in TABLES for protocol in table.protocols} | {"pretrain"}
    names = dict.fromkeys(name for row in rows for name in row.records if name not in known)
    return [_other(name, [row.records[name] for row in rows if name in row.records]) for name in names]


def _other(protocol: str, found: Sequence[Found | Missing]) -> Table:
    records = [record for each in found if not isinstance(each, Missing) for _, record in each]
    scores = tuple(dict.fromkeys(metric.name for record in records for metric in record.metrics)) or ("Score",)
    return Table(protocol, 3, "", (*_WHO, *scores), _plain(protocol, scores), (protocol,))


def notes(table: Table, rows: Sequence[Row]) -> list[str]:
    """A sentence per reason for which a number is missing, and per number that was selected on the split it reports."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for protocol in table.protocols:
            found = row.records.get(protocol)
            if isinstance(found, Missing):
                said.setdefault(f"{found.word}: {found.why}", []).append(row.model)
            elif found:
                for line in [*_honest(protocol, row, found), *_selected(protocol, found)]:
                    said.setdefault(line, []).append(row.model)
    return [f"{', '.join(dict.fromkeys(models))}: {line}" for line, models in said.items()]


# Metrics whose field-standard value is selected on the split that it reports, and their honest counterparts.
HONEST = {"voc07_low_shot": "k{k}_honest", "imagenet_1pct": "top1_honest", "imagenet_10pct": "top1_honest"}


def _honest(protocol: str, row: Row, found: Found) -> list[str]:
    pattern = HONEST.get(protocol)
    if pattern is None:
        return []
    names = [pattern.format(k=k) for k in SHOTS] if "{k}" in pattern else [pattern]
    cells = [number(row, protocol, name, 2) for name in names]
    values = ", ".join(cell.text for cell in cells if cell.link)
    first = f"{protocol} is selected on the split it reports, as the field does"
    return [f"{first}; selected on training data it is {values}" if values else first]


# Metrics of which the best epoch or layer is shown; how it was chosen is in the metric's own note.
SELECTED = {
    "voc07_svm": "mAP",
    "imagenet_linear": "AvgPool_top1",
    "inat18_linear": "AvgPool_top1",
    "places205_linear": "AvgPool_top1",
}


def _selected(protocol: str, found: Found) -> list[str]:
    """A sentence with the metric's note, if by that note the best is chosen on the split that is reported."""
    metrics = [record.metric(SELECTED.get(protocol, "")) for _, record in found]
    notes = [m.note for m in metrics if m and "best" in m.note and m.split in re.findall(r"\w+", m.note)]
    if not notes:
        return []
    said = f"{SELECTED[protocol]} of {protocol} is selected on the split it reports, as the field does"
    return [f"{said} ({'; '.join(dict.fromkeys(notes))})"]
