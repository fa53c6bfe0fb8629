"""Every record reaches a table, and every number selected on the split it reports says so for all its
models.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contract.protocol import Protocol, catalogue
from benchmarks.contract.score import Score, Selection
from benchmarks.contract.table import Column, Table
from reports.pages import markdown
from reports.tables.cells import Missing, Row
from reports.tables.fill import Filled, fill
from reports.tables.marks import signed
from reports.tables.notes import notes
from tests.test_result import record
from zoo.suites import builtin

PROTOCOLS = catalogue("paper")
RECALL = Column("Recall", "recall")
RETRIEVAL = Protocol(
    name="retrieval", title="", source="", settings=None, report_on="val", choose="", table=Table(heading="Retrieval"),
    columns=(RECALL, Column("Rank", "rank", digits=1)),
)  # fmt: skip


def row(model: str, protocol: str, *scores: Score) -> Row:
    """A model with one record."""
    return Row(model, None, "recipe", {protocol: [(Path("result.json"), record(metrics=list(scores)))]})


def chosen(name: str, split: str, on: str, honest: str = "", of: str = "setting", **among: float) -> Score:
    """A score of 50 that was chosen on a split among some."""
    return Score(
        name, 50.0, 1, split, selection=Selection(of, "best", on, {"best": 50.0, **among}), honest=honest
    )


def table(protocol: str, rows: list[Row]) -> Filled:
    (filled,) = fill(rows, [PROTOCOLS[protocol]])
    return filled


def test_a_note_names_every_model_that_shares_it() -> None:
    scores = (chosen("top1", "val", "val", "top1_honest"), Score("top1_honest", 49.0, 1, "val"))
    rows = [row(model, "imagenet_1pct", *scores) for model in ("odc", "random")]
    (line,) = notes([PROTOCOLS["imagenet_1pct"]], rows)
    said = "imagenet_1pct: setting selected on the split that is reported (val), as published"
    assert line == f"odc, random: {said}; selected without it: Top-1 (%) 49.00"


@pytest.mark.parametrize(
    ("protocol", "score", "noted"),
    [
        ("imagenet_linear", chosen("AvgPool_top1", "val", "val", of="epoch"), "epoch"),
        ("imagenet_linear", Score("AvgPool_top1", 50.0, 1, "val", note="last epoch"), ""),
        ("voc07_svm", chosen("mAP", "test", "test", of="layer"), "layer"),
        ("voc07_svm", chosen("mAP", "test", "held-out training images", of="layer"), ""),
        ("imagenet_linear", chosen("not_in_a_column", "val", "val", of="epoch"), ""),
    ],
)
def test_the_best_of_the_reporting_split_is_marked(protocol: str, score: Score, noted: str) -> None:
    said = f"odc: {protocol}: {noted} selected on the split that is reported ({score.split}), as published"
    assert table(protocol, [row("odc", protocol, score)]).notes == ([said] if noted else [])


def test_a_protocol_with_a_table_of_its_own_gets_it() -> None:
    rows = [row("odc", "retrieval", Score("recall", 50.0, 1, "val"), Score("rank", 50.0, 1, "val"))]
    rows.append(Row("random", None, "recipe", {"retrieval": Missing("not run", "after pretraining")}))
    filled = fill(rows, [*PROTOCOLS.values(), RETRIEVAL])
    last = filled[-1]
    assert (last.table.heading, last.columns) == ("Retrieval", ("Model", "Config", "Recall", "Rank"))
    assert [[cell.text for cell in line] for line in last.rows] == [
        ["odc", "recipe", "50.00", "50.0"],
        ["random", "recipe", "not run", "not run"],
    ]
    assert last.notes == ["random: not run: after pretraining"]
    assert len(filled) == len(fill(rows, list(PROTOCOLS.values()))) + 1


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda p: p.name)
def test_every_record_reaches_a_table(protocol: Protocol) -> None:
    names = dict.fromkeys(column.score for column in protocol.columns)
    scores = [replace(chosen(name, "val", "val"), value=50.0 + i) for i, name in enumerate(names)]
    (filled,) = [
        one
        for one in fill([row("odc", protocol.name, *scores)], list(PROTOCOLS.values()))
        if one.table == protocol.table
    ]
    texts = [
        cell.text.removeprefix(f"{protocol.row}: ") for line in filled.rows for cell in line if cell.link
    ]
    expected = [
        "best" if c.show == "choice" else f"{50 + list(names).index(c.score):.{c.digits}f}"
        for c in protocol.columns
    ]
    assert texts == expected


def test_protocols_of_one_table_stand_side_by_side_or_in_rows_of_their_own() -> None:
    protocols = list(PROTOCOLS.values())
    filled = {one.table.heading: one for one in fill([row("odc", "absent")], protocols)}
    svm, semi = filled["VOC SVM / Low-shot SVM"], filled["Semi-Supervised Classification"]
    assert svm.columns[:5] == ("Model", "Config", "Best Layer", "SVM", "k=1")
    assert [line[2].text for line in svm.rows] == ["not asked"]
    assert semi.columns == ("Model", "Pretrain Config", "Fine-tuned Config", "Top-1 (%)", "Top-5 (%)")
    assert [line[2].text for line in semi.rows] == ["1 %: not asked", "10 %: not asked"]
    assert all(len(line) == len(one.columns) for one in filled.values() for line in one.rows)


def seeds(on: str, *among: dict[str, float]) -> Filled:
    """A row of several seeds, each with the candidates of its best layer."""
    rows: list[tuple[Path, Any]] = []
    for seed, candidates in enumerate(among):
        best = max(candidates, key=candidates.__getitem__)
        score = Score(
            "recall", candidates[best], 1, "val", selection=Selection("layer", best, on, candidates)
        )
        rows.append((Path(f"{seed}"), record(metrics=[score], seed=seed)))
    shown = replace(RETRIEVAL, columns=(RECALL, replace(RECALL, heading="Choice", show="choice")))
    return fill([Row("odc", None, "recipe", {"retrieval": rows})], [shown])[0]


def test_several_seeds_are_taken_at_one_layer_the_best_on_average() -> None:
    """f4, f5 and f5 are best, but f4 is best on average: its own mean is shown, not one over two layers."""
    filled = seeds("val", {"f4": 71.0, "f5": 60.0}, {"f4": 70.0, "f5": 71.0}, {"f4": 70.0, "f5": 71.0})
    assert [cell.text for cell in filled.rows[0][2:]] == ["70.33 ± 0.58 (n = 3)", "f4"]
    assert filled.rows[0][2].link == Path("0")
    assert filled.rows[0][2].more == (Path("1"), Path("2"))


def test_a_choice_made_without_the_reported_split_is_that_of_most_seeds() -> None:
    filled = seeds("train", {"f4": 90.0, "f5": 60.0}, {"f4": 70.0, "f5": 71.0}, {"f4": 70.0, "f5": 71.0})
    assert [cell.text for cell in filled.rows[0][2:]] == ["67.33 ± 6.35 (n = 3)", "f5"]


def test_seeds_without_a_candidate_in_common_keep_their_own() -> None:
    filled = seeds("val", {"a": 1.0}, {"b": 2.0})
    assert filled.rows[0][2].text == "1.50 ± 0.71 (n = 2)"


def test_candidates_that_are_not_of_the_score_itself_are_none() -> None:
    """Records of linear have listed the top-1 of every epoch beside the top-5, too."""
    tops = [Selection("epoch", best, "val", {"1": 40.0, "2": 30.0}) for best in ("1", "2")]
    rows = [
        (Path(f"{i}"), record(metrics=[Score("recall", value, 1, "val", selection=top)], seed=i))
        for i, (value, top) in enumerate(zip((90.0, 85.0), tops, strict=True))
    ]
    (filled,) = fill(
        [Row("odc", None, "recipe", {"retrieval": rows})], [replace(RETRIEVAL, columns=(RECALL,))]
    )
    assert filled.rows[0][2].text == "87.50 ± 3.54 (n = 2)"


def test_seeds_on_different_layers_are_said_to_be() -> None:
    shots = PROTOCOLS["voc07_low_shot"]
    rows = [
        (Path(f"{i}"), record(metrics=[Score("k1", 1.0, 1, "test", note=f"on {layer}")], seed=i))
        for i, layer in enumerate(("feature4", "feature2", "feature4"))
    ]
    said = "odc: voc07_low_shot: its seeds differ, and their mean is over all: on feature4, on feature2"
    assert said in notes([shots], [Row("odc", None, "recipe", {shots.name: rows})])
    assert said not in notes([shots], [Row("odc", None, "recipe", {shots.name: rows[::2]})])


def test_every_seed_s_record_is_linked() -> None:
    page = markdown.page([seeds("val", {"a": 1.0}, {"a": 2.0})], "title", "", Path())
    assert "[1.50 ± 0.71 (n = 2)](0) [2](1)" in page


def test_a_score_that_one_of_several_seeds_lacks_is_no_mean_of_the_others() -> None:
    records = [(Path("0"), record(metrics=[Score("recall", 1.0, 1, "val")])), (Path("1"), record(metrics=[]))]
    (filled,) = fill([Row("odc", None, "recipe", {"retrieval": records})], [RETRIEVAL])
    assert filled.rows[0][2].text == "not in suite"


def test_no_number_is_a_zero_below_zero() -> None:
    """ARI falls below zero by chance."""
    (filled,) = fill(
        [
            row("odc", "retrieval", Score("recall", -0.004, 1, "val")),
            row("random", "retrieval", Score("recall", 0.0, 1, "val")),
        ],
        [RETRIEVAL],
    )
    texts = [one[2].text for one in filled.rows]
    assert texts == ["0.00", "0.00"]
    assert signed(-0.004, 2) == "+0.00"


def test_what_makes_a_number_doubtful_stands_below_its_table() -> None:
    doubtful = record(
        metrics=[Score("recall", 1.0, 1, "val")], facts={"alarms": ["2 images of val are in train"]}
    )
    said = notes([RETRIEVAL], [Row("odc", None, "recipe", {"retrieval": [(Path("0"), doubtful)]})])
    assert said == ["odc: retrieval: in doubt: 2 images of val are in train"]


def test_columns_follow_the_settings_that_make_them(tmp_path: Path) -> None:
    suite = builtin.load("demo", tmp_path, {"imagenet_knn": {"ks": [5, 7]}, "voc07_low_shot": {"ks": [3]}})
    found = suite.catalogue()
    assert [column.heading for column in found["imagenet_knn"].columns] == ["k=5", "k=7"]
    assert [column.heading for column in found["voc07_low_shot"].columns] == ["k=3"]
