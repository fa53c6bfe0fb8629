"""Agreement of two labelings of the same images, and how even the cluster sizes of one are.

A labeling is an integer tensor (N,); only which images share a label matters. With n_ij images labelled i by
a and j by b, a_i and b_j the row and column sums, and the entropies H of a_i / N and b_j / N
    MI   sum n_ij/N ln(N n_ij / (a_i b_j))         NMI  MI / mean(H_a, H_b)
    AMI  (MI - E) / (mean(H_a, H_b) - E)           E    expectation of MI over all labelings of the same sizes
(Vinh, Epps, Bailey 2010; scikit-learn's definitions, arithmetic mean). NMI of random labelings is far above
0 when clusters are many, 0.47 for 10,000 against 10,000 on ImageNet: `chance_nmi` says how far.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class SizeSummary(NamedTuple):
    """Cluster sizes in images. entropy: H / ln K, 1 if all are
    equal. imbalance: K sum (n_k / N)^2, 1 likewise.
    """

    empty: int
    min: int
    max: int
    p1: float
    p50: float
    p99: float
    entropy: float
    imbalance: float


def compare(labels: Tensor, previous: Tensor, classes: Tensor | None = None) -> dict[str, float]:
    """NMI, AMI and chance NMI against the previous labeling and, where they are known, the classes, with
    purity.

    Each over the images labelled in both; a negative label means none. `classes` other than one per image are
    left out.
    """
    others = {"previous": previous}
    if classes is not None and classes.ndim == 1:
        others["classes"] = classes
    figures: dict[str, float] = {}
    for name, other in others.items():
        both = (labels >= 0) & (other >= 0)
        if not bool(both.any()):
            continue
        table = _contingency(labels[both], other[both])
        figures[f"nmi_{name}"], figures[f"ami_{name}"] = _nmi(table), _ami(table)
        figures[f"chance_nmi_{name}"] = _chance(table.a, table.b)
        if name == "classes":
            figures["purity"] = _purity(table)
    return figures


def nmi(a: Tensor, b: Tensor) -> float:
    """Normalised mutual information, 0 to 1; two labelings of one cluster each agree perfectly."""
    return _nmi(_contingency(a, b))


def ami(a: Tensor, b: Tensor) -> float:
    """Adjusted mutual information: 1 for the same labeling, 0
    on average for random ones of the same sizes.
    """
    return _ami(_contingency(a, b))


def ari(a: Tensor, b: Tensor) -> float:
    """Adjusted Rand index: agreement over pairs of images, 1 for
    the same labeling, 0 on average for random ones.
    """
    t = _contingency(a, b)
    # In Python integers: products of pair counts exceed int64 from about 50,000 images on.
    total = int(t.n.sum())
    both, in_a, in_b = (int(n.long().square().sum()) for n in (t.n, t.a, t.b))
    same, only_a, only_b = both - total, in_a - both, in_b - both
    neither = total**2 - both - only_a - only_b
    if only_a == only_b == 0:
        return 1.0
    together, apart = (same + only_a) * (only_a + neither), (same + only_b) * (only_b + neither)
    return 2 * (same * neither - only_a * only_b) / (together + apart)


def purity(labels: Tensor, classes: Tensor) -> float:
    """Share of images that belong to the most frequent class
    of their cluster (majority vote). Rises with K.
    """
    return _purity(_contingency(labels, classes))


def chance_nmi(sizes_a: Tensor, sizes_b: Tensor) -> float:
    """Expected NMI of random labelings with these cluster sizes (integer (K_a,) and (K_b,) of the same sum).

    Exact: shuffling leaves the entropies alone, so it is the E of AMI over their mean.
    """
    if int(sizes_a.sum()) != int(sizes_b.sum()):
        images = f"{int(sizes_a.sum())} and {int(sizes_b.sum())}"
        raise ValueError(f"chance_nmi: sizes_a and sizes_b must count the same images, got {images}")
    return _chance(sizes_a.double(), sizes_b.double())


def sizes_summary(counts: Tensor) -> SizeSummary:
    """Statistics of cluster sizes (K,), empty clusters included; quantiles interpolate."""
    n, k = counts.double(), len(counts)
    share = n / n.sum()
    p1, p50, p99 = n.quantile(n.new_tensor([0.01, 0.5, 0.99])).tolist()
    entropy = float(torch.special.entr(share).sum()) / math.log(k) if k > 1 else 1.0
    imbalance = k * float(share.square().sum())
    return SizeSummary(int((n == 0).sum()), int(n.min()), int(n.max()), p1, p50, p99, entropy, imbalance)


class _Contingency(NamedTuple):
    """n (cells,) float64: images of each non-empty cell; its row
    and column; a, b: sizes of all rows and columns.
    """

    n: Tensor
    row: Tensor
    column: Tensor
    a: Tensor
    b: Tensor


def _contingency(a: Tensor, b: Tensor) -> _Contingency:
    """Cells by one sort of a K_b + b; the K_a x K_b matrix,
    10^8 entries at 10,000 clusters, is never built.
    """
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(
            f"labelings must be (N,) of the same N > 0 images, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    a, b = a.long() - a.min(), b.to(a.device).long() - b.min()
    k_a, k_b = int(a.max()) + 1, int(b.max()) + 1
    cell, count = torch.unique(a * k_b + b, return_counts=True)
    n, row, column = count.double(), cell // k_b, cell % k_b
    return _Contingency(
        n, row, column, n.new_zeros(k_a).index_add_(0, row, n), n.new_zeros(k_b).index_add_(0, column, n)
    )


def _nmi(t: _Contingency) -> float:
    return _ratio(_mutual_information(t), _mean_entropy(t.a, t.b))


def _ami(t: _Contingency) -> float:
    expected = _expected_information(t.a, t.b)
    return _ratio(_mutual_information(t) - expected, _mean_entropy(t.a, t.b) - expected)


def _chance(a: Tensor, b: Tensor) -> float:
    return _ratio(_expected_information(a, b), _mean_entropy(a, b))


def _purity(t: _Contingency) -> float:
    return float(torch.zeros_like(t.a).scatter_reduce_(0, t.row, t.n, "amax").sum() / t.n.sum())


def _ratio(information: float, most: float) -> float:
    """information / most; 1 where nothing can be told apart, as for two labelings of one cluster each."""
    return 1.0 if abs(most) < 1e-12 else information / most


def _mutual_information(t: _Contingency) -> float:
    total = t.n.sum()
    return max(0.0, float((t.n / total * (t.n * total / (t.a[t.row] * t.b[t.column])).log()).sum()))


def _mean_entropy(a: Tensor, b: Tensor) -> float:
    return float(torch.special.entr(a / a.sum()).sum() + torch.special.entr(b / b.sum()).sum()) / 2


def _expected_information(a: Tensor, b: Tensor) -> float:
    """E[MI] in nats over all labelings with cluster sizes a and b, n_ij being hypergeometric for each pair
    (i, j).

    Pairs of equal sizes share a term, and N images make at most sqrt(2N) distinct sizes. Of each distribution
    the values within 9 standard deviations + 30 of its mean are summed; what is beyond has a probability
    below 1e-17.
    """
    total = int(a.sum())
    (sizes_a, times_a), (sizes_b, times_b) = (
        s[s > 0].cpu().long().unique(return_counts=True) for s in (a, b)
    )
    ln_factorial = torch.lgamma(torch.arange(1, total + 2, dtype=torch.float64))
    rest = ln_factorial[sizes_b] + ln_factorial[total - sizes_b] - ln_factorial[total]
    expected = 0.0
    for size, times in zip(sizes_a.tolist(), times_a.tolist(), strict=True):
        mean = size * sizes_b.double() / total
        reach = 9 * (mean * (1 - size / total)).sqrt() + 30
        first = torch.maximum((mean - reach).floor().long(), sizes_b + size - total).clamp_min(1)
        last = torch.minimum((mean + reach).long(), sizes_b.clamp_max(size))
        n = first[:, None] + torch.arange(int((last - first).max()) + 1)
        inside = n <= last[:, None]
        n = torch.minimum(n, last[:, None])
        b_j = sizes_b[:, None]
        ln_p = rest[:, None] + ln_factorial[size] + ln_factorial[total - size] - ln_factorial[n]
        ln_p = ln_p - ln_factorial[size - n] - ln_factorial[b_j - n] - ln_factorial[total - size - b_j + n]
        share = n.double() / total
        term = share * (share * total**2 / (size * b_j)).log() * ln_p.exp()
        expected += times * float((term * inside).sum(1) @ times_b.double())
    return expected
