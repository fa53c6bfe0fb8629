"""Which records of a home count: those of one training of a model, with every seed of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.contract.result import read, write
from reports.compare import Number, compare
from reports.gate.baseline import accept, measured
from reports.gate.baseline import read as baseline
from reports.gate.compare import compare as judged
from reports.records import current, found
from reports.tables.cells import Missing
from tests.reports.store import SMALL, benchmark, pretraining, view
from zoo.gate import gate

CLUSTERING = SMALL["clustering"]


def evaluated(home: Path, value: float, trained: int = 0, seed: int = 0, weights: str = "new") -> None:
    """A record of clustering with a seed, of ODC as it was trained with another."""
    identity = {"weights": weights, "data": {"val": "aaaa"}, "seed": seed, **CLUSTERING.rule()}
    model = {"name": "odc", "method": "odc", "recipe": "odc", "config": "config", "seed": trained}
    more: dict[str, Any] = {"identity": identity, "seed": seed, "at": f"-{trained}-{weights}"}
    benchmark(home, CLUSTERING, {"nmi": value}, model, **more)


def counted(home: Path) -> list[float]:
    """The numbers of clustering that count."""
    records = [record for _, record in current(found(home)) if record.protocol["name"] == "clustering"]
    return sorted(score.value for record in records for score in record.metrics)


def test_evaluations_of_weights_that_are_gone_do_not_count_beside_one_of_the_new(tmp_path: Path) -> None:
    for seed in range(3):
        evaluated(tmp_path, 50.0 + seed, seed=seed, weights="old")
    pretraining(tmp_path, "odc", facts={"weights": {"weights": "new"}})
    evaluated(tmp_path, 60.0)
    assert counted(tmp_path) == [60.0]


@pytest.fixture
def crossed(tmp_path: Path) -> Path:
    """A home of two trainings, each evaluated with two seeds."""
    for trained in (0, 1):
        for seed in (0, 1):
            evaluated(tmp_path, 40.0 + 20 * trained + seed, trained, seed, weights=f"w{trained}")
    return tmp_path


def test_trainings_crossed_with_evaluations_all_count(crossed: Path) -> None:
    assert counted(crossed) == [40.0, 41.0, 60.0, 61.0]
    (entry,) = measured(found(crossed)).entries
    assert (entry.value, entry.seeds) == (50.5, (0, 0, 1, 1))


def test_the_gate_knows_the_weights_of_every_training(crossed: Path) -> None:
    (before,) = measured(found(crossed)).entries
    evaluated(crossed, 40.0, 0, 0, weights="other")
    (crossed / "results" / "odd" / "clustering" / "0-0-w0" / "result.json").unlink()
    (after,) = measured(found(crossed)).entries
    assert after.seeds == before.seeds
    assert after.weights != before.weights


def test_a_model_at_a_seed_is_one_training_with_all_its_evaluations(crossed: Path) -> None:
    made = compare(view(crossed, SMALL), ["odc@0", "odc@1"])
    values = [(one.value, one.n) for one in made.lines[0].numbers if isinstance(one, Number)]
    assert values == [(40.5, 2), (60.5, 2)]


def test_a_failed_evaluation_is_told_with_both_seeds(crossed: Path) -> None:
    path = next(crossed.rglob("1-0-w0/result.json"))
    write(path, read(path).model_copy(update={"status": "failed", "reason": "nan", "message": "no"}))
    assert measured(found(crossed)).failed == {("odc", "clustering"): "seed 0 evaluation 1 failed: nan: no"}


@pytest.fixture(params=[{"weights": "b"}, {"weights": "a", "input": {"mean": 0.5}}], ids=["file", "input"])
def replaced(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A home of a given model with k-NN and SVM of one file, and then k-NN of another of the same name, or of
    the same behind another preprocessing.
    """
    first, other = {"weights": "a", "input": {"mean": 0.4}}, request.param
    given = {"name": "mine", "method": "given", "recipe": "given", "config": "given", "seed": 0}
    for name, weights, at in (
        ("imagenet_knn", first, 1),
        ("voc07_svm", first, 2),
        ("imagenet_knn", other, 3),
    ):
        identity = {**weights, "data": {"val": "aaaa"}, "seed": 0, **SMALL[name].rule()}
        scores = {column.score: 50.0 + at for column in SMALL[name].columns if column.show == "value"}
        end = {"start": "", "end": f"2026-01-0{at}"}
        benchmark(tmp_path, SMALL[name], scores, given, identity=identity, at=str(at), time=end)
    return tmp_path


def test_numbers_of_another_file_of_the_same_name_are_stale(replaced: Path) -> None:
    (row,) = view(replaced, SMALL).rows
    knn, svm = row.found("imagenet_knn"), row.found("voc07_svm")
    assert not isinstance(knn, Missing)
    assert [score.value for _, record in knn for score in record.metrics][:1] == [53.0]
    assert isinstance(svm, Missing)
    assert svm.word == "stale"


def test_the_gate_says_what_is_stale(replaced: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = replaced / "baseline.json"
    assert gate(replaced, path, accept=True) == 0
    assert "mine voc07_svm: stale, its records are of other weights" in capsys.readouterr().err
    assert {entry.protocol for entry in baseline(path).entries} == {"imagenet_knn"}


def test_a_number_that_became_stale_is_missing_with_the_reason(replaced: Path) -> None:
    newest = replaced / "results" / "odd" / "imagenet_knn" / "03" / "result.json"
    record = read(newest)
    newest.unlink()
    before = accept(replaced / "baseline.json", measured(found(replaced)))
    write(newest, record)
    states = {one.protocol: (one.state, one.why) for one in judged(before, measured(found(replaced)))}
    assert states["voc07_svm"] == ("missing", "its records are of other weights; run it again")
