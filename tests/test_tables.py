"""Every record reaches a table, and every number selected on the split it reports says so for all its models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.result import Metric
from reports.tables import TABLES, Missing, Row, fill, notes
from tests.test_result import record


def row(model: str, protocol: str, *metrics: tuple[str, str, str]) -> Row:
    """A model with one record; metrics: (name, split, note), of value 50."""
    scores: list[Any] = [
        Metric(name=name, value=50.0, unit="%", better="higher", split=split, n=1, note=note)
        for name, split, note in metrics
    ]
    return Row(model, None, "recipe", {protocol: [(Path("result.json"), record(metrics=scores))]})


def said(protocol: str, *rows: Row) -> list[str]:
    return notes(next(table for table in TABLES if protocol in table.protocols), rows)


def test_a_note_names_every_model_that_shares_it() -> None:
    metrics = (("top1", "val", ""), ("top1_honest", "val", ""))
    (line,) = said("imagenet_1pct", row("odc", "imagenet_1pct", *metrics), row("random", "imagenet_1pct", *metrics))
    assert line.startswith("odc, random: imagenet_1pct is selected on the split it reports")


@pytest.mark.parametrize(
    ("protocol", "metric", "split", "note", "noted"),
    [
        ("imagenet_linear", "AvgPool_top1", "val", "epoch 3, best of 4 on val", True),
        ("imagenet_linear", "AvgPool_top1", "val", "last epoch", False),
        ("voc07_svm", "mAP", "test", "best layer feature4, by test mAP", True),
        ("voc07_svm", "mAP", "test", "best layer feature4, by held-out mAP", False),
    ],
)
def test_the_best_of_the_reporting_split_is_marked(
    protocol: str, metric: str, split: str, note: str, noted: bool
) -> None:
    found = said(protocol, row("odc", protocol, (metric, split, note)))
    expected = f"odc: {metric} of {protocol} is selected on the split it reports, as the field does ({note})"
    assert found == ([expected] if noted else [])


def test_a_protocol_without_a_table_of_its_own_gets_one() -> None:
    rows = [row("odc", "retrieval", ("recall", "val", ""), ("rank", "val", ""))]
    rows.append(Row("random", None, "recipe", {"retrieval": Missing("not run", "after pretraining")}))
    last = fill(rows)[-1]
    assert (last.table.heading, last.table.columns) == ("retrieval", ("Model", "Config", "recall", "rank"))
    assert [[cell.text for cell in line] for line in last.rows] == [
        ["odc", "recipe", "50.00", "50.00"],
        ["random", "recipe", "not run", "not run"],
    ]
    assert last.notes == ["random: not run: after pretraining"]
    assert len(fill(rows[1:])) == len(TABLES) + 1
