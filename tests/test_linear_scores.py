"""What is reported of linear heads: the last epoch or the best, and why one that diverged has no number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.contract.protocol import catalogue
from benchmarks.contract.result import read
from benchmarks.contract.task import Outcome
from benchmarks.protocols.linear import protocol as linear
from benchmarks.protocols.linear.run import outcome
from benchmarks.solvers.heads import Course, train
from pretrain.base.faults import Fault
from reports.tables.cells import Row
from reports.tables.fill import fill
from tests import planned
from tests.linear_task import CPU, LINEAR, diverging, task
from tests.test_result import record
from zoo.jobs import benchmark
from zoo.jobs.place import Place
from zoo.jobs.record import recording
from zoo.plan.datasets import Datasets
from zoo.store import Store
from zoo.suites.suite import Suite


def test_a_head_that_diverges_stops_and_the_others_stand(tmp_path: Path) -> None:
    given = task(tmp_path, LINEAR)
    whole = train(given, diverging(given)).courses
    (tmp_path / "state.pt").unlink()
    found = train(given, diverging(given, "Feature2", "AvgPool"))
    assert found.courses == {name: whole[name] for name in whole if name not in ("Feature2", "AvgPool")}
    said = "the loss of {} is not finite in epoch 1; lower its learning rate"
    assert found.lost == {name: said.format(name) for name in ("Feature2", "AvgPool")}
    assert train(given, diverging(given, "Feature2", "AvgPool")) == found  # as its file remembers it


def test_only_a_protocol_whose_heads_all_diverge_fails(tmp_path: Path) -> None:
    given = task(tmp_path, LINEAR)
    names = [*linear.FEATURES, *linear.AVERAGES]
    with pytest.raises(
        Fault, match=r"imagenet_linear: the loss of every head, Feature1, .* is not finite"
    ) as said:
        train(given, diverging(given, *names))
    assert said.value.reason == "nan"


def courses(names: Sequence[str]) -> dict[str, Course]:
    """Heads that are best in their second of three epochs."""
    epochs = ("epoch 1", "epoch 2", "epoch 3")
    return {
        name: Course(
            dict(zip(epochs, (10.0, 30.0 + at, 20.0), strict=True)),
            dict(zip(epochs, (60.0, 80.0, 70.0), strict=True)),
        )
        for at, name in enumerate(names)
    }


def values(found: Outcome) -> dict[str, float]:
    return {score.name: score.value for score in found.scores}


def test_features_report_their_last_epoch_and_averages_their_best_beside_the_last() -> None:
    found = outcome(courses(["Feature1", "AvgPool", "AvgPool_SwAV"]), {}, 100)
    assert values(found) == {
        "Feature1_top1": 20, "Feature1_top5": 70, "Feature1_top1_best": 30,
        "AvgPool_top1": 31, "AvgPool_top5": 80, "AvgPool_top1_last": 20,
        "AvgPool_SwAV_top1": 32, "AvgPool_SwAV_top5": 80, "AvgPool_SwAV_top1_last": 20,
    }  # fmt: skip
    scores = {score.name: score for score in found.scores}
    for name in ("AvgPool_top1", "AvgPool_SwAV_top1"):
        assert scores[name].selected_on_its_split
        assert scores[name].honest == f"{name}_last"
    assert not scores["Feature1_top1"].selected_on_its_split


def test_over_seeds_a_top5_is_no_top1_and_is_taken_at_the_epoch_of_the_top1() -> None:
    """The second epoch has the best top-1 on average, the first the best top-5."""
    epochs = ("epoch 1", "epoch 2")
    seeds = [((40.0, 30.0), (90.0, 80.0)), ((10.0, 50.0), (95.0, 85.0))]
    rows = []
    for seed, (top1, top5) in enumerate(seeds):
        course = Course(*(dict(zip(epochs, one, strict=True)) for one in (top1, top5)))
        rows.append(
            (Path(f"{seed}"), record(metrics=outcome({"AvgPool": course}, {}, 100).scores, seed=seed))
        )
    cifar = catalogue("cifar")["cifar10_linear"]
    (table,) = fill([Row("swav", None, "recipe", {cifar.name: rows})], [cifar])
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert cells["AvgPool (solo-learn)"].text == "40.00 ± 14.14 (n = 2)"
    assert cells["AvgPool (solo-learn), top-5"].text == "82.50 ± 3.54 (n = 2)"


def test_a_lost_head_is_missing_with_all_its_scores() -> None:
    found = outcome(courses(["Feature2"]), {"Feature1": "why", "AvgPool": "so"}, 100)
    assert dict(found.missing) == {
        "Feature1_top1": "why", "Feature1_top5": "why", "Feature1_top1_best": "why",
        "AvgPool_top1": "so", "AvgPool_top5": "so", "AvgPool_top1_last": "so",
    }  # fmt: skip


def test_killed_after_the_last_epoch_it_goes_on_from_there(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned.pretend(planned.jobs(suite, tmp_path)["pretrain"], suite)
    job, store = planned.jobs(suite, tmp_path)["imagenet_linear"], Store(tmp_path)
    place = Place(suite, store, Datasets(suite, store.fingerprints), CPU, lambda *_: None)

    def killed(*_: object) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "alarms", killed)
    with pytest.raises(KeyboardInterrupt), recording(job, suite.name):
        benchmark.run(job, place)
    assert job.folder is not None
    assert (job.folder / "work" / "state.pt").exists()


def test_a_lost_head_is_a_dash_on_the_page_with_its_reason_below(suite: Suite, tmp_path: Path) -> None:
    suite = planned.changed(suite, "imagenet_linear", **{"average.lr": 1e38, "batch_size": 4})
    planned.pretend(planned.jobs(suite, tmp_path)["pretrain"], suite)
    job, store = planned.jobs(suite, tmp_path)["imagenet_linear"], Store(tmp_path)
    assert job.folder is not None
    job.folder.mkdir(parents=True)
    place = Place(suite, store, Datasets(suite, store.fingerprints), CPU, lambda *_: None)
    with recording(job, suite.name) as found:
        found.outcome = benchmark.run(job, place)
    assert job.path is not None
    made = read(job.path)
    assert made.status == "ok"
    assert made.score("AvgPool_top1") is None
    assert "AvgPool_SwAV_top1" not in made.missing
    (table,) = fill([Row("odc", None, "recipe", {job.name: [(job.path, made)]})], [LINEAR])
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert (cells["AvgPool (MoCo)"].text, cells["AvgPool (MoCo)"].link) == ("–", job.path)
    assert float(cells["AvgPool (SwAV)"].text) >= 0
    said = made.missing["AvgPool_top1"]
    assert f"odc: imagenet_linear: no AvgPool (MoCo): {said}" in table.notes
