"""A collapse is told from a clustering, and the loop says so to people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from pretrain.cluster import health
from pretrain.data import dataset
from pretrain.methods.deepcluster.method import ADVICE
from pretrain.train import loop
from tests import scenes
from tests.train import tiny


def test_effective_rank_counts_directions() -> None:
    g = torch.Generator().manual_seed(0)
    whole, line = torch.randn(4000, 8, generator=g), torch.randn(4000, 1, generator=g) * torch.ones(8)
    assert float(health.effective_rank(whole)) == pytest.approx(8, abs=0.01)
    assert float(health.effective_rank(line + 5)) == pytest.approx(1, abs=0.01)
    assert float(health.effective_rank(torch.ones(10, 8))) == 1
    assert float(health.effective_rank(whole[:5])) <= 4.001  # five rows differ in four directions


def test_effective_rank_by_hand() -> None:
    """Singular values 3 and 1, as shares 3/4 and 1/4: exp(entropy) = 4 / 3^(3/4)."""
    rows = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]])
    assert float(health.effective_rank(rows)) == pytest.approx(4 / 3**0.75)


@pytest.mark.case(12)
def test_a_collapse_is_named_with_what_to_try() -> None:
    healthy = torch.tensor([50, 50, 40])
    assert health.warning(healthy, 10.0, "try X") == {}
    assert (
        "one holds 95% of the images; try X"
        in health.warning(torch.tensor([95, 5]), 10.0, "try X")["warning"]
    )
    for few in ([60, 40], [55, 25, 20]):
        assert health.warning(torch.tensor(few), 10.0, "try X") == {}, "of so few, one may hold half"
    assert "effective rank 1.20" in health.warning(healthy, 1.2, "try X")["warning"]
    heads = torch.stack([healthy, torch.tensor([10, 80, 10])])
    assert "one holds 80% of the images; try X" in health.warning(heads, 10.0, "try X")["warning"], (
        "the worst head"
    )


@pytest.mark.case(12)
def test_dead_and_uneven_clusters_are_named() -> None:
    one_in_twenty = torch.tensor([5] * 19 + [0])
    assert health.warning(one_in_twenty, 10.0, "try X") == {}
    assert (
        "10% of them hold no image"
        in health.warning(torch.tensor([5] * 18 + [0, 0]), 10.0, "try X")["warning"]
    )
    uneven = torch.tensor([400, *[1] * 599])  # 600 (0.4004^2 + 599 / 999^2) = 96.6
    assert "imbalance 96.6" in health.warning(uneven, 10.0, "try X")["warning"]


@pytest.mark.case(12)
def test_features_that_have_collapsed_are_named_where_nothing_is_clustered() -> None:
    whole = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    assert set(health.of_features(whole, "try X")) == {"effective_rank"}
    said = health.of_features(whole[:, :1] * torch.ones(8), "try X")["warning"]
    assert said == "features collapse: effective rank 1.00 (below 2); try X"


def test_a_loss_of_equal_predictions_is_named() -> None:
    assert health.stuck(8.0, 3000, "try X")["warning"].endswith("that of equal predictions, 8.006; try X")
    assert health.stuck(7.9, 3000, "try X") == {}


def test_the_sample_is_even_over_all_rows() -> None:
    """Rows sorted by class: the first alone would differ in no direction."""
    rows = torch.arange(3 * health.ROWS)[:, None].float()
    found = health.sample(rows, health.ROWS)
    assert (len(found), int(found[0]), int(found[-1])) == (health.ROWS, 0, 3 * health.ROWS - 1)
    assert set(found.diff(dim=0).flatten().tolist()) <= {3, 4}
    by_class = torch.eye(8).repeat_interleave(health.ROWS, 0)
    assert float(health.effective_rank(by_class)) == pytest.approx(7, abs=0.01)


def test_the_loop_shows_a_warning_and_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def collapsed(counts: torch.Tensor, rank: float, advice: str) -> Mapping[str, str]:
        return {"warning": f"clusters collapse; {advice}"}

    monkeypatch.setattr(health, "warning", collapsed)
    split = dataset.find("imagenet").split(scenes.folder(tmp_path / "images"), "train")
    said: list[str] = []

    def report(done: int, total: int, line: str) -> None:
        said.append(line)

    loop.fit("deepcluster", tiny("deepcluster", 1), split, tmp_path, 0, torch.device("cpu"), report)
    assert said[-1] == f"warning: clusters collapse; {ADVICE}"
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["warning"] in said[-1]
    figures = {
        "size_empty",
        "size_p50",
        "objective",
        "reseeded",
        "kmeans_empty",
        "effective_rank",
        "nmi_classes",
    }
    assert figures | {"ami_classes", "chance_nmi_classes"} <= set(last)
