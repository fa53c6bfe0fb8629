"""Agreement of labelings equals scikit-learn's and the definitions; the chance floor is exact."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from sklearn import metrics
from torch import Tensor

from pretrain.cluster import agreement as partitions

IMAGENET = 1_281_167


def related(n: int, k_a: int, k_b: int, kept: float) -> tuple[Tensor, Tensor]:
    """Two labelings, the second a function of the first for a share of the images and random for the
    others.
    """
    g = torch.Generator().manual_seed(n)
    a = torch.randint(k_a, (n,), generator=g)
    return a, torch.where(torch.rand(n, generator=g) < kept, a % k_b, torch.randint(k_b, (n,), generator=g))


def literal_expected_information(sizes_a: list[int], sizes_b: list[int]) -> float:
    """Every value of every cell with its hypergeometric probability, from exact binomials."""
    total, expected = sum(sizes_a), 0.0
    for a, b in itertools.product(sizes_a, sizes_b):
        for n in range(max(1, a + b - total), min(a, b) + 1):
            p = math.comb(a, n) * math.comb(total - a, b - n) / math.comb(total, b)
            expected += p * n / total * math.log(n * total / (a * b))
    return expected


def balanced(k: int) -> Tensor:
    return torch.bincount(torch.arange(IMAGENET) % k)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize(
    ("n", "k_a", "k_b", "kept"), [(500, 10, 7, 0.5), (3000, 200, 150, 0.9), (3000, 40, 3, 0.0)]
)
@pytest.mark.case(43)
def test_equals_scikit_learn(n: int, k_a: int, k_b: int, kept: float, dtype: torch.dtype) -> None:
    a, b = (labels.to(dtype) for labels in related(n, k_a, k_b, kept))
    x, y = a.numpy(), b.numpy()
    assert partitions.nmi(a, b) == pytest.approx(metrics.normalized_mutual_info_score(x, y), abs=1e-9)
    assert partitions.ami(a, b) == pytest.approx(metrics.adjusted_mutual_info_score(x, y), abs=1e-10)
    assert partitions.ari(a, b) == pytest.approx(metrics.adjusted_rand_score(x, y), abs=1e-12)
    majority = metrics.cluster.contingency_matrix(x, y).max(1).sum() / n
    assert partitions.purity(a, b) == pytest.approx(majority, abs=1e-12)


def test_six_images_by_hand() -> None:
    # Clusters {3, 3} against classes {2, 4}: cells 2, 1, 0, 3.
    a, b = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([5, 5, 9, 9, 9, 9])
    information = 2 / 6 * math.log(2) + 1 / 6 * math.log(1 / 2) + 3 / 6 * math.log(3 / 2)
    h_b = -(math.log(1 / 3) / 3 + math.log(2 / 3) * 2 / 3)
    assert partitions.nmi(a, b) == pytest.approx(2 * information / (math.log(2) + h_b))
    assert partitions.purity(a, b) == pytest.approx(5 / 6)
    assert partitions.purity(b, a) == pytest.approx(5 / 6)
    # Pairs: 4 in both (1 + 0 + 3), 6 in a, 7 in b, of 15; expected 6 * 7 / 15 = 2.8, at most (6 + 7) / 2.
    assert partitions.ari(a, b) == pytest.approx((4 - 2.8) / (6.5 - 2.8))


def test_only_the_grouping_matters() -> None:
    a, b = related(400, 8, 5, 0.7)
    renamed = torch.randperm(8, generator=torch.Generator().manual_seed(0))[a] - 3
    for measure in (partitions.nmi, partitions.ami, partitions.ari, partitions.purity):
        assert measure(renamed, b) == pytest.approx(measure(a, b), abs=1e-12)
        assert measure(a, renamed) == pytest.approx(1)


def test_labelings_of_one_cluster() -> None:
    one, two = torch.zeros(6, dtype=torch.int64), torch.tensor([0, 0, 0, 1, 1, 1])
    for measure, against_two in ((partitions.nmi, 0), (partitions.ami, 0), (partitions.ari, 0)):
        assert measure(one, one) == 1
        assert measure(one, two) == pytest.approx(against_two)
    for measure in (partitions.nmi, partitions.ami, partitions.ari):
        assert measure(torch.arange(6), torch.arange(6).flip(0)) == pytest.approx(1)


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((0,), (0,)), ((2, 2), (2, 2))])
def test_labelings_of_different_images_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = (torch.zeros(shape, dtype=torch.int64) for shape in shapes)
    with pytest.raises(ValueError, match="must be"):
        partitions.nmi(a, b)


def test_pair_counts_do_not_overflow() -> None:
    a = torch.arange(IMAGENET) % 3
    assert partitions.ari(a, a) == 1
    assert abs(partitions.ari(a, torch.arange(IMAGENET) // 500_000)) < 1e-3


# ---- chance


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([3, 3], [2, 4]),
        ([1, 1, 1], [2, 1]),
        ([9, 5, 5, 1], [4, 4, 4, 4, 4]),
        ([200, 90], [145, 145]),
        ([40] * 20, [400] * 2),
    ],
)
def test_expected_information_equals_the_sum_over_all_tables(a: list[int], b: list[int]) -> None:
    found = partitions._expected_information(torch.tensor(a), torch.tensor(b))
    assert found == pytest.approx(literal_expected_information(a, b), rel=1e-10)


def test_chance_is_the_mean_over_shuffles() -> None:
    a, b = related(2000, 60, 40, 0)
    g = torch.Generator().manual_seed(0)
    shuffled = [partitions.nmi(a, b[torch.randperm(2000, generator=g)]) for _ in range(20)]
    floor = partitions.chance_nmi(torch.bincount(a), torch.bincount(b))
    assert floor == pytest.approx(sum(shuffled) / 20, abs=2e-3)
    assert partitions.ami(a, b) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    ("k_a", "k_b", "measured"),
    [
        (10_000, 10_000, 0.473),
        (10_000, 1000, 0.265),
        (3000, 3000, 0.255),
        (3000, 1000, 0.150),
        (1000, 1000, 0.065),
    ],
)
def test_the_floor_at_imagenet_size(k_a: int, k_b: int, measured: float) -> None:
    assert partitions.chance_nmi(balanced(k_a), balanced(k_b)) == pytest.approx(measured, abs=0.005)


def test_sizes_of_different_images_are_refused() -> None:
    with pytest.raises(ValueError, match="must count the same images, got 3 and 4"):
        partitions.chance_nmi(torch.tensor([1, 2]), torch.tensor([4]))


# ---- comparison and sizes


def test_images_without_a_label_are_left_out() -> None:
    a, b = related(600, 10, 7, 0.8)
    first, second, classes = a.clone(), a.roll(1), b.clone()
    first[:50], second[30:90], classes[100:120] = -1, -1, -1
    found = partitions.compare(first, second, classes)
    seen, known = (first >= 0) & (second >= 0), (first >= 0) & (classes >= 0)
    assert found["nmi_previous"] == pytest.approx(partitions.nmi(first[seen], second[seen]))
    assert found["ami_classes"] == pytest.approx(partitions.ami(first[known], classes[known]))
    assert found["purity"] == pytest.approx(partitions.purity(first[known], classes[known]))
    sizes = torch.bincount(first[seen]), torch.bincount(second[seen])
    assert found["chance_nmi_previous"] == pytest.approx(partitions.chance_nmi(*sizes))
    assert set(partitions.compare(first, second)) == {"nmi_previous", "ami_previous", "chance_nmi_previous"}
    assert partitions.compare(first, torch.full((600,), -1), torch.zeros(600, 20)) == {}


def test_sizes_by_hand() -> None:
    found = partitions.sizes_summary(torch.tensor([0, 2, 2, 4]))
    assert (found.empty, found.min, found.max, found.p50) == (1, 0, 4, 2)
    assert (found.p1, found.p99) == pytest.approx((0.06, 3.94))
    assert found.entropy == pytest.approx(1.5 * math.log(2) / math.log(4))
    assert found.imbalance == pytest.approx(4 * (0.25**2 + 0.25**2 + 0.5**2))
    even = partitions.sizes_summary(torch.full((7,), 3))
    assert (even.entropy, even.imbalance) == pytest.approx((1, 1))
    assert partitions.sizes_summary(torch.tensor([5])).entropy == 1
