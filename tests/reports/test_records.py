"""Which records of a home count: those of one training of a model, with every seed of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reports.records import current, found
from tests.reports.store import SMALL, benchmark, pretraining

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
