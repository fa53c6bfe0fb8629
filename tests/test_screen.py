"""Ruling centroids out in bf16 never rules out the nearest, and steps aside where it cannot tell."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.cluster import nearest, screen
from tests.lloyd import gaussian_rows

pytestmark = pytest.mark.skipif(
    not (hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    reason="this processor has no bf16 product",
)


def rows_of(kind: str, n: int, d: int = 48) -> Tensor:
    g = torch.Generator().manual_seed(n)
    x = torch.randn(n, d, generator=g)
    if kind == "collapsed":
        return F.normalize(0.05 * x + torch.ones(d))
    return {"unit": F.normalize(x), "rectified": x.relu(), "far": x + 100, "small": x * 1e-12}[kind]


def exact(x: Tensor, c: Tensor, metric: str) -> Tensor:
    x, c = x.double(), c.double()
    return x @ c.T - (0.5 * c.square().sum(1) if metric == "l2" else 0)


def screened(c: Tensor, metric: str) -> screen.Screen:
    return screen.screen(c, -0.5 * c.square().sum(1) if metric == "l2" else None)


@pytest.mark.parametrize("metric", ["l2", "dot"])
@pytest.mark.parametrize("kind", ["unit", "rectified", "collapsed", "far", "small"])
@pytest.mark.parametrize("k", [64, 65, 700])
def test_the_best_is_never_ruled_out(k: int, kind: str, metric: str) -> None:
    x, c = rows_of(kind, 300), rows_of(kind, 300 + k)[:k]
    found = screen.nearest(x, screened(c, metric))
    assert found is not None
    score = exact(x, c, metric)
    size = x.norm(dim=1).amax() * c.norm(dim=1).amax()
    lost = score.amax(1) - score.gather(1, found[1][:, None]).squeeze(1)
    assert float(lost.max() / size) < 4e-7  # rounding of fp32
    torch.testing.assert_close(found[0].double() / size, score.amax(1) / size, atol=1e-6, rtol=0)


@pytest.mark.parametrize("metric", ["l2", "dot"])
def test_centroids_that_bf16_cannot_tell_apart(metric: str) -> None:
    """Eight copies of each, moved by less than bf16 resolves: the best may look like any of them."""
    once = rows_of("unit", 100)
    g = torch.Generator().manual_seed(0)
    c = once.repeat(8, 1) + 1e-4 * torch.randn(800, 48, generator=g)
    x = F.normalize(once + 0.1 * torch.randn(100, 48, generator=g))
    s = screened(c, metric)
    found = screen.nearest(x, s)
    assert found is not None
    assert torch.equal(found[1], exact(x, c, metric).argmax(1))
    rough = (x - s.mean).bfloat16().float() @ s.rough[:800].float().T + s.offset[:800]
    assert int((rough.argmax(1) != found[1]).sum()) >= 50


def test_rounding_that_favours_another() -> None:
    """By hand: x . c is 0.312 and 0.297, but 0.281 and 0.297 once every |x| is rounded to 1.5."""
    sign = torch.randint(2, (64,), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    lost = 0.49 * 2**-7 * (torch.arange(64) % 2 * 2 - 1)  # on |x|; half of it up, half of it down
    x = sign * (1.5 + lost)
    first, second = sign * (lost.sign() / 8 + 3 * 2**-10), sign * 0.297 / 96
    c = torch.stack([first, second, -first, -second] + [torch.zeros(64)] * 60)
    found = screen.nearest(x[None], screen.screen(c, None))
    assert found is not None
    assert found[1].tolist() == [0]
    rough = c.bfloat16().float() @ x.bfloat16().float()
    torch.testing.assert_close(rough[:2], torch.tensor([0.28125, 0.297]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("metric", ["l2", "dot"])
def test_the_lowest_index_wins_ties(metric: str) -> None:
    once = rows_of("unit", 70)
    found = screen.nearest(once, screened(once.repeat(8, 1), metric))
    assert found is not None
    assert found[1].tolist() == list(range(70))


@pytest.mark.parametrize("metric", ["l2", "dot"])
@pytest.mark.parametrize(
    ("of_rows", "of_centroids"), [(1e-19, 1e-19), (1e-20, 1.0), (1.0, 1e-24), (1e-38, 1e9)]
)
def test_what_underflows_is_not_screened(of_rows: float, of_centroids: float, metric: str) -> None:
    """AMX takes products below 1e-38 for zero, and fp32 the square of such a length."""
    x, c = rows_of("unit", 300) * of_rows, rows_of("unit", 1000)[:700] * of_centroids
    found = screen.nearest(x, screened(c, metric))
    score = exact(x, c, metric)
    if found is not None:
        lost = score.amax(1) - score.gather(1, found[1][:, None]).squeeze(1)
        assert float((lost / score.amax(1).abs()).max()) < 1e-6


def test_it_steps_aside() -> None:
    x = rows_of("unit", 50)
    wrong = x.clone()
    wrong[7, 3] = torch.nan
    assert screen.nearest(wrong, screened(x, "l2")) is None
    assert screen.nearest(x * 1e30, screened(x * 1e30, "l2")) is None  # squares overflow
    assert screen.nearest(x, screened(x[:1].repeat(600, 1), "l2")) is None  # all centroids alike
    near = x[:2].repeat(300, 1) + 1e-7 * torch.randn(600, 48, generator=torch.Generator().manual_seed(0))
    assert screen.nearest(x, screened(near, "l2")) is None  # half of them could win


@pytest.mark.parametrize("metric", ["l2", "dot"])
def test_labels_are_those_of_the_whole_product(metric: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, c = gaussian_rows(900, 32, 600), gaussian_rows(600, 32, 600, seed=1)
    x[450:] = x[450]  # with a block for which it steps aside
    c[300:] = c[300]
    with monkeypatch.context() as m:
        m.setattr(screen, "pays", lambda c: False)
        plain = nearest.assign(x, c, metric)
    monkeypatch.setattr(screen, "pays", lambda c: True)
    for chunk in (None, 100):
        labels, best = nearest.assign(x, c, metric, chunk=chunk)
        assert torch.equal(labels, plain[0])
        torch.testing.assert_close(best, plain[1], atol=1e-6, rtol=1e-6)


def test_it_pays_for_many_centroids_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "multiplies_bf16_tiles", lambda: True)
    assert [screen.pays(torch.empty(k, 8)) for k in (100, 512)] == [False, True]
    assert not screen.pays(torch.empty(512, 8, device="meta"))
    monkeypatch.setattr(screen, "multiplies_bf16_tiles", lambda: False)
    assert not screen.pays(torch.empty(512, 8))
