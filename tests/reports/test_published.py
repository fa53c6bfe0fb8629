"""Published numbers are those of their sources, stand apart from ours, and are compared where rules agree."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.contract.protocol import catalogue
from benchmarks.contract.score import Score
from reports.pages import markdown
from reports.tables.fill import Filled
from reports.tables.published import FOLDER, Published, agree, disagreeing, sources
from tests.reports.store import PAPER, SMALL, benchmark, pretraining, view

STEMS = sorted(path.stem for path in FOLDER.glob("*.toml"))
LINEAR = PAPER["imagenet_linear"]
KNOWN = catalogue("cifar") | PAPER


def linear(home: Path) -> Filled:
    made = view(home)
    return made.filled(LINEAR.table)


@pytest.mark.parametrize("stem", STEMS)
def test_every_value_names_a_score_of_its_protocol_and_a_recipe_of_the_zoo(stem: str) -> None:
    from zoo.suites.suite import recipes

    found = sources(stem)
    assert found is not None
    assert found.rows
    for row in found.rows:
        if stem in KNOWN:
            assert set(row.values) <= {column.score for column in KNOWN[stem].columns}, row
        assert all(0 < value <= 100 for value in row.values.values()), row
        if row.recipe:
            declared = recipes(row.method)
            known = {r.name: r for r in (*declared["paper"], *declared.get("cifar", ()))}
            assert row.recipe in known, row
            assert known[row.recipe].epochs == row.epochs, row


def number(stem: str, model: str, tag: str, score: str) -> Decimal:
    found = sources(stem)
    assert found is not None
    return next(r for r in found.rows if r.model.startswith(model) and tag in r.tag).values[score]


@pytest.mark.parametrize(
    ("stem", "model", "tag", "score", "value"),
    [
        ("voc07_svm", "ODC", "1db69ec", "mAP", "78.42"),
        ("voc07_svm", "Random", "1db69ec", "mAP", "30.54"),
        ("voc07_low_shot", "DeepCluster", "1db69ec", "k1", "29.73"),
        ("voc07_low_shot", "DeepCluster", "MMSelfSup", "k1", "29.37"),
        ("voc07_low_shot", "SwAV", "MMSelfSup", "k96", "85.15"),
        ("imagenet_linear", "ODC", "1db69ec", "Feature5_top1", "57.70"),
        ("imagenet_linear", "DeepCluster-v2, 2x224+6x96", "swav", "AvgPool_SwAV_top1", "75.2"),
        ("imagenet_transfer", "DeepCluster-v2, 2x160", "vissl", "top1", "74.32"),
        ("places205_linear", "ODC", "MMSelfSup", "Feature1_top1", "19.28"),
        ("imagenet_1pct", "ODC", "1db69ec", "top5", "61.02"),
        ("imagenet_10pct", "Random", "1db69ec", "top1", "21.78"),
        ("imagenet_knn", "ODC", "MMSelfSup", "k200_top1", "36.9"),
        ("voc0712_detection", "SwAV", "MMSelfSup", "AP50", "77.64"),
        ("coco17_detection", "SwAV", "MMSelfSup", "mask_AP75", "38.8"),
        ("voc12aug_segmentation", "ODC", "371b5d5b", "mIoU", "54.76"),
        ("cifar10_linear", "SwAV", "solo-learn", "AvgPool_top1", "89.17"),
        ("cifar10_linear", "DeepCluster-v2", "solo-learn", "AvgPool_top5", "99.58"),
        ("cifar100_linear", "SwAV", "solo-learn", "AvgPool_top5", "88.78"),
        ("cifar100_linear", "DeepCluster-v2", "solo-learn", "AvgPool_top1", "63.61"),
    ],
)
def test_numbers_are_those_of_the_sources(stem: str, model: str, tag: str, score: str, value: str) -> None:
    assert str(number(stem, model, tag, score)) == value


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [("70.0", "70.00", True), ("70.5", "70.47", True), ("53.42", "53.43", False), ("78.2", "78.42", False)],
)
def test_numbers_agree_up_to_the_digits_of_the_coarser(a: str, b: str, same: bool) -> None:
    assert agree(Decimal(a), Decimal(b)) == agree(Decimal(b), Decimal(a)) == same


def test_rows_of_another_rule_or_training_are_no_conflict() -> None:
    def row(value: str, **more: object) -> Published:
        return Published(model="m", file="f", tag="t", values={"x": value}, **more)  # type: ignore[arg-type]

    assert disagreeing([row("1.0"), row("2.0")]) == [("m", "x")]
    assert disagreeing([row("1.0"), row("2.0", differs="BGR")]) == []
    assert disagreeing([row("1.0", epochs=100), row("2.0", epochs=200)]) == []


def test_a_row_per_source_with_the_difference_of_our_model(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    benchmark(tmp_path, LINEAR, {"Feature1_top1": 15.0, "AvgPool_top1": 50.0})
    published = linear(tmp_path).published
    assert published is not None
    assert published.columns[:4] == ("Published", "Source", "Epochs", "Feature1")
    first = published.rows[0]
    assert [cell.text for cell in first[:4]] == [
        "ODC",
        "docs/MODEL_ZOO.md @ OpenSelfSup 1db69ec",
        "440",
        "14.76 ≠",
    ]
    assert (first[3].gain, first[3].mark) == ("odc +0.24", "")
    assert first[8].gain == "odc −3.42"
    assert [
        note
        for note in published.notes
        if note.startswith("≠ sources disagree on ODC, AvgPool (MoCo): 53.42 in")
    ]
    assert not [note for note in published.notes if "not to be compared" in note]
    ours = linear(tmp_path).rows
    assert [line[0].text for line in ours] == ["odc"]


@pytest.mark.parametrize("why", ["settings", "data", "recipe"])
def test_other_rules_are_grey_and_get_no_difference(tmp_path: Path, why: str) -> None:
    pretraining(tmp_path, "odc", recipe=0)
    if why == "recipe":
        record = pretraining(tmp_path, "odc")
        settings = {**record.protocol["settings"], "epochs": 20}
        pretraining(tmp_path, "odc", protocol={**record.protocol, "settings": settings})
    protocol = SMALL["imagenet_linear"] if why == "settings" else LINEAR
    benchmark(tmp_path, protocol, {"Feature1_top1": 15.0}, n=300 if why == "data" else 50_000)
    published = linear(tmp_path).published
    assert published is not None
    assert published.rows[0][3].gain == ""
    assert published.rows[0][3].mark == ("" if why == "recipe" else "grey")
    said = {"settings": "settings other than", "data": "reported on 300 images, published on 50,000"}
    if why in said:
        assert [note for note in published.notes if said[why] in note]


def test_scores_that_are_not_shown_may_be_of_another_split(tmp_path: Path) -> None:
    more = Score("held_out", 1.0, 100, "train")
    shown = Score("Feature1_top1", 15.0, 50_000, "val")
    pretraining(tmp_path, "odc")
    benchmark(tmp_path, LINEAR, {}, metrics=[shown, more])
    published = linear(tmp_path).published
    assert published is not None
    assert published.rows[0][3].gain == "odc +0.24"


def test_a_source_with_a_rule_of_its_own_is_grey_and_says_why(tmp_path: Path) -> None:
    pretraining(tmp_path, "swav", recipe=5)
    benchmark(tmp_path, LINEAR, {"AvgPool_top1": 70.0}, model="swav")
    published = linear(tmp_path).published
    assert published is not None
    old, new = (
        next(r for r in published.rows if f"SelfSup {tag}" in r[1].text) for tag in ("v0.5.0", "v0.7.0")
    )
    assert (old[8].text, old[8].mark, old[8].gain) == ("70.55", "grey", "")
    assert (new[8].text, new[8].mark, new[8].gain) == ("70.47", "", "swav −0.47")
    assert [note for note in published.notes if "grey, another rule: images were fed as BGR" in note]


def test_the_best_is_bold_and_the_difference_to_random_stands_beside_it(tmp_path: Path) -> None:
    for model, value in (("odc", 40.0), ("swav", 50.0), ("random", 10.0)):
        benchmark(tmp_path, LINEAR, {"Feature1_top1": value}, model=model)
    lines = {line[0].text: line[2] for line in linear(tmp_path).rows}
    assert {name: (cell.mark, cell.gain) for name, cell in lines.items()} == {
        "odc": ("", "+30.00"),
        "swav": ("best", "+40.00"),
        "random": ("", ""),
    }
    page = markdown.page([linear(tmp_path)], "t", "", tmp_path)
    assert "[**50.00**](results/swav/imagenet_linear/0/result.json) <sub>+40.00</sub>" in page
    assert '<i style="color:gray">16.98' in page  # SwAV as BGR


def test_a_lower_number_is_the_best_where_lower_is_better(tmp_path: Path) -> None:
    for model, value in (("odc", 1.0), ("swav", 2.0)):
        benchmark(tmp_path, LINEAR, {"Feature1_top1": value}, model=model, better="lower")
    assert [line[2].mark for line in linear(tmp_path).rows] == ["best", ""]


def test_one_model_alone_is_no_best(tmp_path: Path) -> None:
    benchmark(tmp_path, LINEAR, {"Feature1_top1": 1.0})
    assert linear(tmp_path).rows[0][2].mark == ""
