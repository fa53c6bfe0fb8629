"""k-means equals the literal algorithm and faiss, whatever the tiles, the metric and the number of
processes.
"""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.base import dist
from pretrain.base.faults import Fault
from pretrain.cluster import kmeans as clustering
from pretrain.cluster import nearest
from pretrain.cluster.kmeans import Clusters, kmeans, two_means
from tests import gloo
from tests.lloyd import gaussian_rows, literal_kmeans


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize(("n", "d", "k"), [(200, 6, 7), (90, 3, 80)])
def test_equals_the_literal_algorithm(n: int, d: int, k: int, metric: Any) -> None:
    x = gaussian_rows(n, d, 9)
    start = x[:k] + 0.01
    c, labels, objective = literal_kmeans(x.double().numpy(), start.double().numpy(), 5, metric)
    found = kmeans(x, k, 5, metric, start=start)
    assert found.labels.dtype == torch.int32
    assert found.labels.tolist() == labels.tolist()
    assert found.counts.tolist() == np.bincount(labels, minlength=k).tolist()
    assert found.empty == (found.counts == 0).sum()
    np.testing.assert_allclose(found.centroids.numpy(), c, atol=1e-6)
    np.testing.assert_allclose(found.objective, objective, rtol=1e-5)


def test_four_points_on_a_line() -> None:
    # From 0 and 1: {0} and {1, 10, 11}, whose means are 0 and 22/3; then {0, 1} and {10, 11}; then nothing
    # moves.
    x, start = torch.tensor([[0.0], [1.0], [10.0], [11.0]]), torch.tensor([[0.0], [1.0]])
    found = kmeans(x, 2, 2, start=start)
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.centroids.tolist() == [[0.5], [10.5]]
    assert found.counts.tolist() == [2, 2]
    moved = (0 + 1 + (10 - 22 / 3) ** 2 + (11 - 22 / 3) ** 2) / 4
    assert found.objective == pytest.approx([(0 + 0 + 81 + 100) / 4, moved, 0.25], rel=1e-5)
    assert start.tolist() == [[0.0], [1.0]]  # the caller's tensor is left alone


def test_cosine_centroids_have_unit_length() -> None:
    # Mean of (1, 0) and (0, 1) points along (1, 1); the mean inner product is then cos 45 degrees.
    found = kmeans(torch.eye(2), 1, 1, "cosine", start=torch.tensor([[3.0, 0.0]]))
    torch.testing.assert_close(found.centroids, torch.full((1, 2), 0.5**0.5))
    assert found.objective == pytest.approx([0.5, 0.5**0.5])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_rows_of_any_float_type_are_taken_as_their_values(dtype: torch.dtype) -> None:
    x = gaussian_rows(300, 10, 5).to(dtype)
    found, plain = kmeans(x, 5, 3), kmeans(x.float(), 5, 3)
    assert torch.equal(found.labels, plain.labels)
    assert found.centroids.dtype == torch.float32
    assert found.objective == pytest.approx(plain.objective, rel=1e-6)


def test_both_ways_to_sum_agree_to_the_last_bit() -> None:
    # The rows of a cluster are added one by one in the same order on CPU and GPU; both ways run here on the
    # CPU.
    x, labels = gaussian_rows(9000, 70, 9), torch.randint(12, (9000,), dtype=torch.int32) ** 2
    a, b = clustering.sums_in_order(x, labels, 150), clustering.sums_sorted(x, labels, 150)
    assert a.dtype == torch.float64
    assert torch.equal(a, b)
    one = F.one_hot(labels.long(), 150).double()
    torch.testing.assert_close(a, one.T @ x.double(), atol=1e-12, rtol=0)


def test_the_objective_never_gets_worse() -> None:
    x = gaussian_rows(1000, 16, 30)
    down, up = kmeans(x, 40, 12).objective, kmeans(x, 40, 12, "cosine").objective
    assert len(down) == len(up) == 13
    assert all(b <= a + 1e-7 for a, b in itertools.pairwise(down))
    assert all(b >= a - 1e-7 for a, b in itertools.pairwise(up))


def test_bf16_changes_at_most_a_thousandth_of_the_labels() -> None:
    x = gaussian_rows(8000, 64, 100, noise=0.3)
    c = kmeans(x, 100, 3).centroids
    exact, rough = nearest.assign(x, c)[0], nearest.assign(x, c, precision="bf16")[0]
    rounded = nearest.assign(x.bfloat16(), c.bfloat16())[0]
    assert torch.equal(rough, rounded)  # operands are rounded, sums are not
    assert 0 < (exact != rough).float().mean() <= 0.001
    a, b = (kmeans(x, 100, 3, start=c, precision=precision).objective for precision in ("fp32", "bf16"))
    assert b == pytest.approx(a, rel=1e-3)


@pytest.mark.parametrize(("metric", "seed"), [("l2", 3), ("cosine", 3), ("l2", 2**32 - 1)])
def test_equals_faiss(metric: Any, seed: int) -> None:
    """With seeds as `derive` gives them, too: faiss takes 31 bits."""
    pytest.importorskip("faiss")
    x = gaussian_rows(3000, 24, 40)
    ours, theirs = (
        kmeans(x, 30, 6, metric, seed=seed, empty="split", backend=backend) for backend in ("torch", "faiss")
    )
    assert ours.empty == theirs.empty == 0
    assert torch.equal(ours.labels, theirs.labels)
    assert torch.equal(ours.counts, theirs.counts)
    assert ours.objective == pytest.approx(theirs.objective, rel=1e-5)
    torch.testing.assert_close(ours.centroids, theirs.centroids, atol=1e-5, rtol=0)


# ---- start and errors


def test_first_centroids_are_distinct_rows_that_depend_on_seed_and_position_alone() -> None:
    x, g = torch.arange(5000.0)[:, None], torch.Generator().manual_seed(0)
    drawn = kmeans(x, 300, 0, seed=1).centroids[:, 0]
    assert len(drawn.unique()) == 300
    assert abs(float(drawn.mean()) - 2500) < 4 * 1443 / 300**0.5  # uniform over positions
    assert not torch.equal(drawn, kmeans(x, 300, 0, seed=2).centroids[:, 0])
    shuffled = torch.randperm(5000, generator=g)
    assert torch.equal(drawn, kmeans(x[shuffled], 300, 0, seed=1, row_ids=shuffled).centroids[:, 0])
    assert torch.equal(drawn, kmeans(x, 300, 0, seed=1, offset=0).centroids[:, 0])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.case(11)
def test_rows_that_are_not_finite_are_refused(bad: float, dtype: torch.dtype) -> None:
    x = torch.ones(9000, 3, dtype=dtype)
    x[8500, 2] = bad
    with pytest.raises(Fault, match="NaN or infinity") as caught:
        kmeans(x, 2, 1)
    assert caught.value.reason == "nan"


def test_the_largest_floats_are_finite() -> None:
    assert kmeans(torch.tensor([[3.0e38], [1.0]]), 1, 0, "cosine").counts.tolist() == [2]


def test_bad_arguments_are_named() -> None:
    x = torch.randn(5, 3)
    with pytest.raises(Fault, match="6 clusters asked of 5 rows; choose between 1 and 5"):
        kmeans(x, 6, 1)
    with pytest.raises(ValueError, match=r"start must be \(2, 3\) centroids, got \(2, 4\)"):
        kmeans(x, 2, 1, start=torch.zeros(2, 4))
    with pytest.raises(ValueError, match="row_ids repeat"):
        kmeans(x, 5, 1, row_ids=torch.tensor([0, 1, 2, 2, 4]))
    assert kmeans(x, 5, 3).objective == pytest.approx([0] * 4, abs=1e-6)  # as many clusters as rows


# ---- several processes


def _shards(x: Tensor, world: int) -> list[tuple[Tensor, dict[str, Any]]]:
    """This process's rows in three ways: equal blocks; uneven blocks, the last one empty; every world-th
    row.
    """
    rank = dist.rank()
    cuts = [0, *(len(x) * (2 * r + 1) // (2 * world) for r in range(1, world - 1)), len(x), len(x)][
        : world + 1
    ]
    strided = torch.arange(rank, len(x), world)
    return [
        (x.chunk(world)[rank], {}),
        (x[cuts[rank] : cuts[rank + 1]], {"offset": cuts[rank]}),
        (x[strided], {"row_ids": strided}),
    ]


def _sharded(x: Tensor, k: int, metric: str) -> list[dict[str, Any]]:
    out = []
    for rows, where in _shards(x, dist.world_size()):
        found = kmeans(rows, k, 5, metric, seed=7, empty="split", **where)  # type: ignore[arg-type]
        dist.assert_replicated(found.centroids, "centroids")
        out.append(found._asdict())
    return out


def _refused(x: Tensor) -> str:
    """What a NaN on the last process alone raises on this one."""
    x = torch.where(torch.tensor(dist.rank() == dist.world_size() - 1), math.nan, x)
    try:
        kmeans(x, 2, 1)
    except Fault as error:
        return str(error)
    return "nothing"


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.case(45)
def test_the_number_of_processes_does_not_show(world: int, metric: Any, tmp_path: Path) -> None:
    x = gaussian_rows(240, 12, 30)
    k = 70  # more than a shard of four processes holds
    alone = kmeans(x, k, 5, metric, seed=7, empty="split")
    found = gloo.run(_sharded, world, tmp_path, x, k, metric)
    blocks, uneven, strided = ([Clusters(**process[way]) for process in found] for way in range(3))
    for way in (blocks, uneven, strided):
        for process in way:
            assert torch.equal(process.counts, alone.counts)
            assert process.objective == pytest.approx(alone.objective, rel=1e-5)
            assert (process.reseeded, process.empty) == (alone.reseeded, alone.empty)
            torch.testing.assert_close(process.centroids, alone.centroids, atol=1e-6, rtol=0)
    for way in (blocks, uneven):
        assert torch.equal(torch.cat([process.labels for process in way]), alone.labels)
    for rank, process in enumerate(strided):
        assert torch.equal(process.labels, alone.labels[rank::world])


def test_every_process_refuses_a_nan_of_one(tmp_path: Path) -> None:
    assert all("NaN or infinity" in said for said in gloo.run(_refused, 2, tmp_path, torch.randn(6, 2)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_the_gpu_finds_the_same_clusters(metric: Any, precision: Any) -> None:
    x = gaussian_rows(5000, 32, 40, noise=0.3)
    host = kmeans(x, 40, 5, metric, empty="split")
    found = kmeans(x.cuda(), 40, 5, metric, empty="split", precision=precision)
    assert (found.labels.cpu() != host.labels).float().mean() <= (0 if precision == "fp32" else 0.02)
    assert found.objective == pytest.approx(host.objective, rel=1e-5 if precision == "fp32" else 2e-3)
    rerun = kmeans(x.cuda(), 40, 5, metric, empty="split", precision=precision)
    assert torch.equal(found.centroids, rerun.centroids)
    assert torch.equal(two_means(x.cuda()).cpu(), two_means(x))


@pytest.mark.case(32)
def test_where_faiss_is_not_there_the_way_to_install_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)  # as if it were not installed
    with pytest.raises(Fault, match="needs faiss, which is not installed; pip install") as caught:
        kmeans(torch.randn(20, 3), 2, 1, backend="faiss", empty="split")
    assert caught.value.reason == "dependency-missing"


@pytest.mark.case(32)
def test_what_faiss_cannot_do_is_refused() -> None:
    x = torch.randn(20, 3)
    for asked in ({"empty": "keep"}, {"empty": "split", "precision": "bf16"}):
        with pytest.raises(ValueError, match=r"backend 'faiss' splits .* not empty"):
            kmeans(x, 2, 1, backend="faiss", **asked)  # type: ignore[arg-type]
