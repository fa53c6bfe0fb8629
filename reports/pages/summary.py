"""model_zoo.md: every model with its weights, and the headline numbers of the classic summary tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.contract.table import Column, Table
from reports.pages.about import about
from reports.pages.markdown import escape
from reports.pages.markers import marked
from reports.tables.alike import numbers
from reports.tables.cells import Cell, Row, identity
from reports.tables.fill import Filled
from reports.tables.marks import method
from reports.view import View, facts


@dataclass(frozen=True)
class Summary:
    """A table of the summary. rows: per line of a model the remark and its columns."""

    name: str
    heading: str
    protocol: str
    lines: tuple[tuple[str, tuple[Column, ...]], ...]
    intro: str = ""


SUMMARIES = (
    Summary(
        "summary.imagenet_linear",
        "ImageNet Linear Evaluation",
        "imagenet_linear",
        (
            ("", (Column("Top-1 (%)", "AvgPool_top1"),)),
            ("SwAV paper setting", (Column("Top-1 (%)", "AvgPool_SwAV_top1"),)),
        ),
        "A linear layer on the global average. Without a remark it is trained in MoCo's setting.",
    ),
    Summary(
        "summary.coco17_detection",
        "COCO17 Object Detection and Instance Segmentation",
        "coco17_detection",
        (("", (Column("mAP (Box)", "box_AP", 1), Column("mAP (Mask)", "mask_AP", 1))),),
        "Mask R-CNN with FPN, 1x.",
    ),
    Summary(
        "summary.voc12aug_segmentation",
        "Pascal VOC12 + Aug Segmentation",
        "voc12aug_segmentation",
        (("", (Column("mIOU", "mIoU"),)),),
        "A fully convolutional network.",
    ),
)
MODELS, PAGES = "models", "pages"  # names of the table of weights and of the list of links


def page(view: View) -> str:
    """The page with empty tables between markers."""
    parts = ["# Model Zoo", "Every model of this zoo with its weights, its headline numbers, and its pages."]
    parts += [marked(f"table={PAGES}"), "## Pre-trained models", marked(f"table={MODELS}"), "## Benchmarks"]
    for one in SUMMARIES:
        parts += [f"### {one.heading}", one.intro, marked(f"table={one.name}")]
    return "\n\n".join(parts) + "\n"


def pages(view: View) -> str:
    """Links to the pages of methods and models, which lie beside this one."""
    lines = [f"- [{escape(about(name).name)}]({name}.md)" for name in view.methods]
    lines += [f"- model card: [{escape(row.model)}](cards/{row.model}.md)" for row in view.rows]
    return "\n".join(lines)


def models(view: View) -> Filled:
    """Algorithm, Config, Download: every model with a link to its weights."""
    lines = [_model(row) for row in view.rows]
    return Filled(
        Table(heading="Pre-trained models"), ("Algorithm", "Model", "Config", "Epochs", "Download"), lines
    )


def _model(row: Row) -> list[Cell]:
    name, config = identity(row)
    epochs = facts(row).get("epochs")
    weights = Cell("model", row.weights) if row.weights else Cell("–")
    bare = Cell(name.text)
    return [Cell(about(method(row)).name), bare, config, Cell(str(epochs) if epochs else "–"), weights]


def summary(view: View, one: Summary) -> Filled:
    """A summary table: a line per model and remark."""
    protocol = next((p for p in view.every if p.name == one.protocol), None)
    remarks = any(remark for remark, _ in one.lines)
    headings = ("Algorithm", "Model", "Config", *(("Remarks",) if remarks else ()))
    columns = (*headings, *(column.heading for column in one.lines[0][1]))
    if protocol is None:
        return Filled(Table(heading=one.heading), columns, [])
    grids = [numbers(view.rows, [(protocol, column) for column in shown]) for _, shown in one.lines]
    lines = [
        [*_names(row), *([Cell(remark)] if remarks else []), *grid[i]]
        for i, row in enumerate(view.rows)
        for (remark, _), grid in zip(one.lines, grids, strict=True)
    ]
    return Filled(Table(heading=one.heading), columns, lines)


def _names(row: Row) -> Sequence[Cell]:
    name, config = identity(row)
    return Cell(about(method(row)).name), Cell(name.text), config
