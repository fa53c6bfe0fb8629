"""The numbers of one model as other sites record them: task, data set, metric, value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contract.protocol import Protocol
from reports.records import weights_left
from reports.tables.cells import Missing, Row
from reports.tables.comparable import other_rule
from reports.tables.published import sources
from reports.view import View, pretraining

# Names that data sets have elsewhere: Hugging Face's id, OpenMMLab's name.
NAMES = {
    "imagenet": ("imagenet-1k", "ImageNet-1k"),
    "places205": ("places205", "Places205"),
    "inat18": ("inat2018", "iNaturalist2018"),
    "voc07": ("voc2007", "Pascal VOC 2007"),
    "voc0712": ("voc0712", "Pascal VOC 2007 + 2012"),
    "voc12aug": ("voc2012-aug", "Pascal VOC 2012 + Aug"),
    "coco17": ("coco2017", "COCO2017"),
    "cityscapes": ("cityscapes", "Cityscapes"),
}
TASKS = {"Detection": "object-detection", "Segmentation": "image-segmentation"}  # by a table's section
METRICS = {
    "top1": "accuracy",
    "top5": "accuracy",
    "mIoU": "mean_iou",
    "AP": "mAP",
    "AP50": "mAP",
    "svm": "mAP",
}


@dataclass(frozen=True)
class Evaluated:
    """A number. benchmark: the protocol's name; title: in words; score: the protocol's word for it; metric:
    its kind elsewhere; heading: its column; known: by the published rule, on the published images.
    """

    benchmark: str
    title: str
    task: str
    dataset: str
    dataset_name: str
    score: str
    metric: str
    heading: str
    value: float
    split: str
    known: bool


def evaluated(view: View, row: Row) -> Iterator[Evaluated]:
    """Every number of the weights that a row links to: those of its first seed that was trained."""
    trained = pretraining(row)
    weights = weights_left(trained) if trained else ""
    for protocol in view.protocols:
        found = row.found(protocol.name)
        mine = [] if isinstance(found, Missing) else [record for _, record in found]
        if weights:
            mine = [record for record in mine if record.identity.get("weights") == weights]
        if not mine:
            continue
        known = published(row, protocol)
        dataset, named = data(protocol, known, view.suite)
        for column in protocol.columns:
            score = mine[0].score(column.score) if column.show == "value" else None
            if score is not None:
                yield Evaluated(
                    benchmark=protocol.name,
                    title=protocol.title or protocol.name,
                    task=TASKS.get(protocol.table.section, "image-classification"),
                    dataset=dataset,
                    dataset_name=named,
                    score=score.name,
                    metric=METRICS.get(score.name.rpartition("_")[2], score.name),
                    heading=column.heading,
                    value=round(score.value, column.digits),
                    split=score.split,
                    known=known,
                )


def published(row: Row, protocol: Protocol) -> bool:
    """Whether a model's numbers of a protocol follow the rule of published ones, on as many images."""
    rules = sources(protocol.name)
    return rules is not None and not other_rule(row, protocol, rules)


def data(protocol: Protocol, known: bool, suite: str) -> tuple[str, str]:
    """Id and name of a protocol's data set. Data of another size are a suite's own, whatever their name."""
    stem = protocol.name.partition("_")[0]
    if stem not in NAMES:
        stem = next(iter(protocol.data.values()), stem).partition("/")[0]
    if known and stem in NAMES:
        return NAMES[stem]
    own = Path(suite).stem
    return f"{own}-{stem}", f"{stem} of suite {own}"
