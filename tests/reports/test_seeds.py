"""Several seeds of a benchmark: what is done keeps its number, and what is lacking is said, the same from a
plan and from records alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from reports.records import found
from reports.tables.cells import Missing, Row
from reports.tables.fill import fill
from reports.view import View
from tests.planned import changed, pretend
from zoo.plan.planner import Planner
from zoo.request import Request, Trial, with_known
from zoo.show import tables
from zoo.store import Store
from zoo.suites.suite import Suite

KNN, CLUSTERING = "imagenet_knn", "clustering"
LINEAR = "imagenet_linear"


def request(suite: Suite, home: Path, **evaluations: Sequence[int]) -> Request:
    """ODC trained with seeds (`s0`, `s1`), each evaluated with some."""
    trials = tuple(Trial(suite.entry("odc"), int(name[1:]), tuple(of)) for name, of in evaluations.items())
    return Request(suite, Store(home), trials, tuple(suite.catalogue().values()), frozenset(["odc"]))


def finish(asked: Request, *names: str, faults: Mapping[int, Fault] | None = None) -> None:
    """Leaves records of a request's pretrainings and of these benchmarks; faults: of benchmarks, by seed."""
    for kind in (True, False):
        for job in Planner(asked).plan():
            wanted = job.protocol is None or job.name in names
            if wanted and (job.protocol is None) is kind and job.state != "done":
                pretend(job, asked.suite, (faults or {}).get(job.seed) if job.protocol else None)


def rows(suite: Suite, home: Path) -> tuple[Row, Row]:
    """The row of ODC as a plan of all that is known shows it, and as records alone do."""
    plan = Planner(with_known(request(suite, home, s0=(0,)))).plan()
    (row,) = View(found(home), tuple(suite.catalogue().values()), "own").rows
    return tables.row(suite.entry("odc"), plan), row


def numbers(row: Row, benchmark: str) -> list[tuple[int, int]]:
    """The seeds whose records are in a cell."""
    kept = row.found(benchmark)
    assert not isinstance(kept, Missing), kept
    return sorted((record.trained, record.seed) for _, record in kept)


def test_a_training_for_one_benchmark_hides_no_number_of_another(suite: Suite, tmp_path: Path) -> None:
    finish(request(suite, tmp_path, s0=(0,)), KNN, CLUSTERING)
    finish(request(suite, tmp_path, s1=(1,)), KNN)
    for row in rows(suite, tmp_path):
        assert numbers(row, KNN) == [(0, 0), (1, 1)]
        assert numbers(row, CLUSTERING) == [(0, 0)]
        assert row.lacking == {CLUSTERING: ("seed 1 not run",)}
        (noted,) = (one.notes for one in fill([row], [suite.catalogue()[CLUSTERING]]))
        assert "odc: clustering: seed 1 not run" in noted


def test_an_evaluation_of_weights_that_are_gone_is_told_beside_the_new(suite: Suite, tmp_path: Path) -> None:
    finish(request(suite, tmp_path, s0=(0, 1, 2)), CLUSTERING)
    other = changed(suite, "odc", arch="resnet20")  # `pretend` leaves the same weights for any other setting
    finish(request(other, tmp_path, s0=(0,)), CLUSTERING)
    for row in rows(other, tmp_path):
        assert numbers(row, CLUSTERING) == [(0, 0)]
        assert row.lacking == {CLUSTERING: ("seed 0 evaluation 1, seed 0 evaluation 2 stale",)}


def test_an_evaluation_that_a_benchmark_was_not_run_with_is_no_matter(suite: Suite, tmp_path: Path) -> None:
    finish(request(suite, tmp_path, s0=(0, 1)), CLUSTERING)
    finish(request(suite, tmp_path, s0=(0,)), KNN)
    for row in rows(suite, tmp_path):
        assert numbers(row, KNN) == [(0, 0)]
        assert row.lacking == {}


def test_a_seed_that_failed_hides_the_others_and_is_named(suite: Suite, tmp_path: Path) -> None:
    finish(request(suite, tmp_path, s0=(0,), s1=(1,)), KNN, faults={1: Fault("nan", "diverged")})
    for row in rows(suite, tmp_path):
        assert row.found(KNN) == Missing("failed", "seed 1: nan: diverged")


@pytest.mark.parametrize("evaluated", [True, False])
def test_a_pretraining_that_failed_leaves_no_number_of_the_model(
    suite: Suite, tmp_path: Path, evaluated: bool
) -> None:
    """The first seed was evaluated, or not, before the second one's training diverged."""
    finish(request(suite, tmp_path, s0=(0,)), *([KNN] if evaluated else []))
    (job,) = (job for job in Planner(request(suite, tmp_path, s1=(1,))).plan() if job.protocol is None)
    pretend(job, suite, Fault("nan", "diverged"))
    for row in rows(suite, tmp_path):
        missing = row.found(KNN)
        assert isinstance(missing, Missing)
        assert missing.word == "failed"
        for part in ("seed 1", "pretraining failed", "nan", "diverged"):
            assert part in missing.why


def test_seeds_that_left_the_same_weights_share_a_number(suite: Suite, tmp_path: Path) -> None:
    """`pretend` leaves the same weights for every seed, as raw pixels do."""
    finish(request(suite, tmp_path, s0=(0, 1)), CLUSTERING)
    finish(request(suite, tmp_path, s1=(1,)))
    assert len(list(tmp_path.glob("results/odc/clustering/*"))) == 2
    for row in rows(suite, tmp_path):
        assert numbers(row, CLUSTERING) == [(0, 0), (0, 1)]
        assert row.lacking == {}
