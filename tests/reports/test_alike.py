"""A number that was measured by another rule than those beside it is not in the running with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.base.settings import changed
from reports.compare import compare
from reports.html.site import write
from tests.reports.store import PAPER, another, benchmark, view

KNN = PAPER["imagenet_knn"]
WARM = another(KNN, settings=changed(KNN.settings, temperature=0.2))
WHY = "settings.temperature 0.07 or 0.2"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two models by the usual rule, a better one by another, and one with a seed of each."""
    for model, value, protocol in (("odc", 50.0, KNN), ("random", 40.0, KNN), ("swav", 60.0, WARM)):
        benchmark(tmp_path, protocol, {"k10_top1": value}, model=model)
    for seed, protocol in enumerate((KNN, WARM)):
        benchmark(tmp_path, protocol, {"k10_top1": 50.0 + seed}, model="byol", seed=seed)
    return tmp_path


def test_numbers_of_another_rule_are_grey_and_the_notes_say_why(home: Path) -> None:
    filled = view(home).filled(KNN.table, published=False)
    marks = {row[0].text: (row[2].mark, row[2].gain) for row in filled.rows}
    assert marks == {"odc": ("best", "+10.0"), "random": ("", ""), "swav": ("grey", ""), "byol": ("grey", "")}
    assert f"byol, swav: imagenet_knn: grey, not to be compared with the others: {WHY}" in filled.notes
    write(view(home), home / "site", home)
    page = (home / "site" / "index.html").read_text()
    assert '<td class="num grey" data-v="60.0">' in page
    assert page.count('<td class="num grey"') == 2
    assert WHY in page


def test_numbers_of_one_rule_are_all_in_the_running(tmp_path: Path) -> None:
    for model, value in (("odc", 50.0), ("swav", 60.0)):
        benchmark(tmp_path, WARM, {"k10_top1": value}, model=model)
    filled = view(tmp_path).filled(KNN.table, published=False)
    assert [row[2].mark for row in filled.rows] == ["", "best"]
    assert not [note for note in filled.notes if "grey" in note]


def test_every_seed_has_to_follow_the_rule_that_a_comparison_is_of(home: Path) -> None:
    for names in (["odc", "byol"], ["byol", "odc"], ["byol@0", "byol@1"]):
        assert compare(view(home), names).lines[0].refused == ["", WHY], names
    assert compare(view(home), ["odc", "byol@0"]).lines[0].refused == ["", ""]


def test_differences_are_to_the_untrained_network_and_not_to_a_variant_of_it(tmp_path: Path) -> None:
    variant = {"name": "flat", "method": "random", "recipe": "r", "config": "c"}
    benchmark(tmp_path, KNN, {"k10_top1": 20.0}, variant)
    for model, value in (("odc", 50.0), ("random", 40.0)):
        benchmark(tmp_path, KNN, {"k10_top1": value}, model=model)
    filled = view(tmp_path).filled(KNN.table, published=False)
    assert {row[0].text: row[2].gain for row in filled.rows} == {
        "flat": "−20.0",
        "odc": "+10.0",
        "random": "",
    }
