"""Empty clusters are kept or refilled as asked; two parts of a cloud are found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pretrain.cluster.kmeans import kmeans, split_empty, two_means
from tests.lloyd import gaussian_rows, literal_kmeans


def _with_a_dead_centroid() -> tuple[Tensor, Tensor]:
    x = gaussian_rows(400, 8, 4)
    return x, torch.cat([x[:5], torch.full((1, 8), -50.0)])


def test_keep_leaves_a_dead_centroid_where_it_is() -> None:
    x, start = _with_a_dead_centroid()
    found = kmeans(x, 6, 4, start=start, empty="keep")
    assert found.centroids[5].tolist() == [-50.0] * 8
    assert found.counts[5] == 0
    assert found.empty == 1
    assert found.reseeded == [0, 0, 0, 0]


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.case(12)
def test_split_refills_it(metric: Any) -> None:
    x, start = _with_a_dead_centroid()
    start[5] = -x.mean(0)
    found = kmeans(x, 6, 4, metric, start=start, empty="split")
    assert found.empty == 0
    assert found.reseeded == [1, 0, 0, 0]
    again = kmeans(x, 6, 4, metric, start=start, empty="split")
    assert torch.equal(found.centroids, again.centroids)


def test_split_parts_donor_and_copy_by_alternating_1024ths() -> None:
    c = torch.tensor([[5.0, 5.0, 5.0], [1.0, 2.0, 4.0], [7.0, 7.0, 7.0], [9.0, 9.0, 9.0]])
    counts, e = torch.tensor([1.0, 8.0, 0.0, 0.0]), 1 / 1024
    moved, filled = split_empty(c, counts, torch.full((4,), 0.5, dtype=torch.float64))
    assert filled == 1  # cluster 1 alone can give, and gives once; a single row cannot be shared
    assert moved[1].tolist() == [1 - e, 2 * (1 + e), 4 * (1 - e)]
    assert moved[2].tolist() == [1 + e, 2 * (1 - e), 4 * (1 + e)]
    assert torch.equal(moved[[0, 3]], c[[0, 3]])


def test_donors_are_drawn_in_proportion_to_their_surplus() -> None:
    counts, c = torch.tensor([0.0, 2.0, 4.0, 7.0]), torch.arange(4.0)[:, None]
    uniform = torch.rand(4000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    donors = torch.tensor([round(float(split_empty(c, counts, u)[0][0])) for u in uniform])
    share = torch.bincount(donors, minlength=4) / 4000
    torch.testing.assert_close(share, torch.tensor([0.0, 0.1, 0.3, 0.6]), atol=0.03, rtol=0)


def test_donors_are_distinct() -> None:
    counts, c = torch.tensor([0.0, 0.0, 0.0, 5.0, 50.0, 500.0]), torch.arange(6.0)[:, None]
    moved, filled = split_empty(c, counts, torch.rand(6, dtype=torch.float64))
    assert filled == 3
    assert sorted(moved[:3, 0].round().tolist()) == [3, 4, 5]


def test_two_means_parts_two_clouds() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(100, 5, generator=g)
    x[40:] += 8
    part = two_means(x)
    assert part.dtype == torch.bool
    assert len(part[:40].unique()) == len(part[40:].unique()) == 1
    assert part[0] != part[-1]
    assert torch.equal(part, two_means(x))
    assert torch.equal(part, two_means(x + 1000))  # float64 inside: a common offset costs no digits


def test_two_means_is_lloyd_from_the_farthest_rows() -> None:
    x = gaussian_rows(60, 4, 5)
    a = max(range(60), key=lambda i: float((x[i].double() - x.double().mean(0)).norm()))
    b = max(range(60), key=lambda i: float((x[i].double() - x[a].double()).norm()))
    _, labels, _ = literal_kmeans(x.double().numpy(), x[[a, b]].double().numpy(), 20, "l2")
    assert two_means(x).tolist() == [label == 1 for label in labels]


def test_rows_that_cannot_be_parted_are_halved() -> None:
    assert two_means(torch.ones(5, 3)).tolist() == [False, False, True, True, True]
    assert two_means(torch.zeros(2, 3)).tolist() == [False, True]
    part = two_means(torch.tensor([[0.0], [0.0], [1.0]]))
    assert part[0] == part[1] != part[2]
    with pytest.raises(ValueError, match="at least 2"):
        two_means(torch.ones(1, 3))
