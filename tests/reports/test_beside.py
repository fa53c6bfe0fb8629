"""Published numbers stand beside ours at a cost that grows with our rows, not with rows times numbers."""

from __future__ import annotations

from pathlib import Path

from reports.tables.beside import Ours
from reports.tables.published import sources
from tests.reports.store import PAPER, SMALL, benchmark, pretraining, view

KNN = PAPER["imagenet_knn"]


def test_our_rows_are_judged_once_per_protocol_and_found_by_their_recipe(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    pretraining(tmp_path, "swav")
    benchmark(tmp_path, KNN, {"k10_top1": 1.0}, model="odc")
    benchmark(tmp_path, KNN, {"k10_top1": 1.0}, model="swav", n=7)
    benchmark(tmp_path, SMALL["clustering"], {"nmi": 1.0}, model="given")
    ours, found = Ours(view(tmp_path).rows), sources(KNN.name)
    assert found is not None
    judged = ours.refused(KNN, found)
    assert [bool(why) for why in judged] == [row.model == "swav" for row in ours.rows]
    assert ours.refused(KNN, found) is judged
    names = {recipe: [ours.rows[i].model for i in at] for recipe, at in ours.trained.items()}
    assert names.pop("") == ["given"]
    assert sorted(names.values()) == [["odc"], ["swav"]]
