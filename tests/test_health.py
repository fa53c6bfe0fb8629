"""A collapse is told from a clustering, and the loop says so to people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pretrain import folder, health, loop
from pretrain.methods import deepcluster
from tests import scenes
from tests.train import tiny

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_a_collapse_is_named_with_what_to_try() -> None:
    healthy = torch.tensor([50, 50, 0])
    assert health.warning(healthy, 10.0, "try X") == {}
    assert "one holds 60% of the images; try X" in health.warning(torch.tensor([60, 40]), 10.0, "try X")["warning"]
    assert "effective rank 1.20" in health.warning(healthy, 1.2, "try X")["warning"]


def test_the_loop_shows_a_warning_and_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def collapsed(counts: torch.Tensor, rank: float, advice: str) -> Mapping[str, str]:
        return {"warning": f"clusters collapse; {advice}"}

    monkeypatch.setattr(health, "warning", collapsed)
    split = folder.load("pretrain.datasets", "imagenet").split(scenes.folder(tmp_path / "images"), "train")
    said: list[str] = []
    recipe = replace(tiny("deepcluster"), epochs=1)
    loop.fit(
        "deepcluster", recipe, split, tmp_path, 0, torch.device("cpu"), lambda done, total, line: said.append(line)
    )
    assert said[-1] == f"warning: clusters collapse; {deepcluster.ADVICE}"
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["warning"] in said[-1]
    figures = {"size_empty", "size_p50", "objective", "reseeded", "kmeans_empty", "effective_rank", "nmi_classes"}
    assert figures | {"ami_classes", "chance_nmi_classes"} <= set(last)
