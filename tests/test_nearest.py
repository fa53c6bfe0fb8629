"""The nearest centroid is that of the full score matrix, whatever the tiles; the lowest index wins ties."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pretrain.cluster import nearest
from tests.lloyd import gaussian_rows


@pytest.mark.parametrize("metric", ["l2", "dot"])
@pytest.mark.parametrize("tile", [(1, 1), (1 << 20, 4 << 20)])
def test_the_lowest_index_wins_ties(
    metric: Any, tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(nearest.TILE, "cpu", tile)
    once = F.normalize(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)))
    labels, _ = nearest.assign(once, once.repeat(4, 1), metric)
    assert torch.equal(labels, torch.arange(64, dtype=torch.int32))


@pytest.mark.parametrize("metric", ["l2", "dot"])
@pytest.mark.parametrize("k", [1, 63, 64, 65, 300])
@pytest.mark.parametrize("tile", [(1, 1), (2 * 64 * 4 * 20, 10_000), (1 << 20, 4 << 20)])
def test_tiles_do_not_show(
    k: int, metric: Any, tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(nearest.TILE, "cpu", tile)
    g = torch.Generator().manual_seed(k)
    x, c = torch.randn(40, 20, generator=g), torch.randn(k, 20, generator=g)
    score = x.double() @ c.double().T - (0.5 * c.double().square().sum(1) if metric == "l2" else 0)
    for chunk in (None, 17):
        labels, best = nearest.assign(x, c, metric, chunk=chunk)
        assert torch.equal(labels.long(), score.argmax(1))
        torch.testing.assert_close(best.double(), score.amax(1), atol=1e-5, rtol=1e-5)


def test_without_onednn_the_product_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, c = gaussian_rows(300, 20, 9), gaussian_rows(70, 20, 9, seed=1)
    labels, best = nearest.assign(x, c)
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    other, score = nearest.assign(x, c)
    assert torch.equal(labels, other)
    torch.testing.assert_close(best, score)


def test_precision_settings_are_put_back() -> None:
    cuda, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    kept = cuda.fp32_precision, cpu.fp32_precision
    for precision, expected in (
        ("fp32", ("ieee", "ieee")),
        ("tf32", ("tf32", "ieee")),
        ("bf16", ("ieee", "bf16")),
    ):
        with nearest.matmul_precision(precision):
            assert (cuda.fp32_precision, cpu.fp32_precision) == expected
        assert (cuda.fp32_precision, cpu.fp32_precision) == kept
