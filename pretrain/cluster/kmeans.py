"""k-means: one engine for every method. Rows stay where they are, sharded over processes, on CPU or GPU.

Lloyd's algorithm on N rows x (N, D) with K centroids C (K, D). Per iteration
    E  y_i = argmax_k s_ik     s_ik = x_i . C_k - |C_k|^2 / 2 (l2: nearest centroid) or x_i . C_k (cosine)
    M  C_k = mean of the rows with y_i = k; cosine: scaled to unit length
E costs 2NKD operations in tiles, so the N x K matrix never exists; M reads the rows once. Sums are in
float64, which makes results independent of how the rows are spread: only E's rounding (exact or almost exact
ties) can differ.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.base import dist, phase
from pretrain.base.faults import Fault
from pretrain.cluster import nearest
from pretrain.cluster.nearest import Precision, assign

Metric = Literal["l2", "cosine"]
_SUM_ROWS = 8192  # rows widened to float64 at a time
_SUM_COLUMNS = 64  # columns widened to float64 at a time, on the GPU


class Clusters(NamedTuple):
    """centroids (K, D) fp32; labels (n_r,) int32 of this process's rows; counts (K,) int64 over all
    processes.

    objective has one entry per E-step, iterations + 1 in all, the last one for `labels`: mean squared
    distance (l2, falls) or mean inner product (cosine, rises). reseeded: clusters refilled after each
    iteration. empty: clusters without a row in `labels`.
    """

    centroids: Tensor
    labels: Tensor
    counts: Tensor
    objective: list[float]
    reseeded: list[int]
    empty: int


@torch.no_grad()
def kmeans(
    x: Tensor,
    k: int,
    iterations: int,
    metric: Metric = "l2",
    seed: int = 0,
    *,
    offset: int | None = None,
    row_ids: Tensor | None = None,
    start: Tensor | None = None,
    empty: Literal["keep", "split"] = "keep",
    precision: Precision = "fp32",
    chunk: int | None = None,
    backend: Literal["torch", "faiss"] = "torch",
) -> Clusters:
    """Clusters of the rows of all processes, after `iterations` of Lloyd's algorithm and a last E-step.

    x: (n_r, D), any float dtype, this process's rows; for "cosine" they should have unit length. Their global
    positions are `row_ids` (n_r,), or `offset`, `offset` + 1, ..., or by default those of shards in rank
    order. `start` (K, D) or K distinct rows drawn by `seed` and global position are the first centroids, the
    same for every sharding. empty: "keep" leaves a centroid without rows where it is (DeepCluster-v2);
    "split" moves it beside a populous one (see `split_empty`). precision and chunk: of the E-step alone, see
    `assign`. backend "faiss": see `_faiss`.

    Raises Fault if k exceeds the number of rows or a value of x is not finite; ValueError for a `start` of
    the wrong shape, repeated row ids or what backend "faiss" cannot do.
    """
    _check_options(metric, empty, precision, backend)
    n, squares = dist.all_reduce_sum_(_size_and_squares(x)).tolist()
    _check_rows(k, int(n), squares)
    if start is not None and start.shape != (k, x.shape[1]):
        raise ValueError(f"k-means: start must be ({k}, {x.shape[1]}) centroids, got {tuple(start.shape)}")
    if start is None:
        start = draw_rows(x, k, seed, _ids(x, offset, row_ids))
    c = start.to(x.device, torch.float32, copy=True)
    c = dist.broadcast_(F.normalize(c) if metric == "cosine" else c)
    if backend == "faiss":
        return _faiss(x, c, iterations, metric, seed)
    score: nearest.Metric = "l2" if metric == "l2" else "dot"
    chance = torch.rand(iterations, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(
        x.device
    )
    objective, reseeded = [], []
    for i, u in enumerate(chance):
        labels, best = assign(x, c, score, precision, chunk)
        c, total, filled = _m_step(x, labels, best, c, metric, u if empty == "split" else None)
        objective.append(total)
        reseeded.append(filled)
        phase.went(f"k-means, {k:,} clusters", i + 1, iterations)
    dist.broadcast_(c)  # replicas on unlike hardware could differ in the last bit
    labels, best = assign(x, c, score, precision, chunk)
    counts = dist.all_reduce_sum_(_counts(labels, k))
    objective.append(dist.all_reduce_sum_(best.double().sum()))
    scores = torch.stack(objective).tolist()  # the host waits here for the first time since the start
    figures = [(squares - 2 * s) / n if metric == "l2" else s / n for s in scores]
    return Clusters(
        c, labels, counts, figures, [int(filled) for filled in reseeded], int((counts == 0).sum())
    )


def _check_options(metric: str, empty: str, precision: str, backend: str) -> None:
    if backend == "faiss" and (empty, precision) != ("split", "fp32"):
        said = f"not empty '{empty}' and precision '{precision}'; ask for those, or take backend 'torch'"
        raise ValueError(f"k-means: backend 'faiss' splits populous clusters and computes in fp32, {said}")
    if metric not in get_args(Metric):
        raise ValueError(f"k-means: the metric must be one of {', '.join(get_args(Metric))}, got '{metric}'")


def _check_rows(k: int, n: int, squares: float) -> None:
    """Whether k of n rows, whose squares sum to this, can be clustered."""
    if not math.isfinite(squares):
        raise Fault(
            "nan", "k-means: the rows contain NaN or infinity; check the features or the network behind them"
        )
    if not 1 <= k <= n:
        raise Fault("bad-config", f"k-means: {k} clusters asked of {n} rows; choose between 1 and {n}")


def _m_step(
    x: Tensor, labels: Tensor, best: Tensor, c: Tensor, metric: Metric, u: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The next centroids (K, D) fp32, the sum of `best`, and how many clusters were refilled.

    c: the present ones, which stay where a cluster is empty and u is None; u (K,): see `split_empty`.
    """
    sums, counts, total = _cluster_sums(x, labels, best, len(c))
    c = torch.where(counts[:, None] > 0, sums / counts[:, None], c).float()
    c, filled = (c, counts.new_zeros(())) if u is None else split_empty(c, counts, u)
    return F.normalize(c) if metric == "cosine" else c, total, filled


def _cluster_sums(x: Tensor, labels: Tensor, best: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Over all processes, float64: sum of the rows of each cluster (K, D), their number (K,), the sum of
    `best`.

    One packed all-reduce of K (D + 1) + 1 numbers: 21 MB at K = 10,000, D = 256.
    """
    d = x.shape[1]
    packed = torch.cat([_segment_sums(x, labels, k).flatten(), _counts(labels, k), best.double().sum()[None]])
    dist.all_reduce_sum_(packed)
    return packed[: k * d].view(k, d), packed[k * d : -1], packed[-1].clone()


def _segment_sums(x: Tensor, labels: Tensor, k: int) -> Tensor:
    """Sum of the rows of each cluster, (K, D) float64, always added in the same order."""
    return sums_sorted(x, labels, k) if x.is_cuda else sums_in_order(x, labels, k)


def sums_in_order(x: Tensor, labels: Tensor, k: int) -> Tensor:
    """One row after the other; the CPU's fastest way (a sort and segments take twice as long)."""
    sums = x.new_zeros(k, x.shape[1], dtype=torch.float64)
    for i in range(0, len(x), _SUM_ROWS):
        sums.index_add_(0, labels[i : i + _SUM_ROWS], x[i : i + _SUM_ROWS].double())
    return sums


def sums_sorted(x: Tensor, labels: Tensor, k: int) -> Tensor:
    """Rows of a cluster one after the other, clusters in
    parallel; on the GPU, index_add would add in any order.
    """
    value, order = labels.sort(stable=True)
    first = torch.searchsorted(value, torch.arange(k, dtype=value.dtype, device=value.device))
    starts = range(0, x.shape[1], _SUM_COLUMNS)
    parts = (F.embedding_bag(order, x[:, j : j + _SUM_COLUMNS].double(), first, mode="sum") for j in starts)
    return torch.cat(list(parts), 1)


def _counts(labels: Tensor, k: int) -> Tensor:
    """Rows per cluster on this process, (K,) int64; unlike bincount, without a host synchronisation."""
    one = torch.ones_like(labels, dtype=torch.int64)
    return torch.zeros(k, dtype=torch.int64, device=labels.device).index_add_(0, labels, one)


def _size_and_squares(x: Tensor) -> Tensor:
    """Number of rows and sum of all squares, (2,) float64; the
    sum of fp32 squares is finite exactly if x is.
    """
    total = x.new_tensor([len(x), 0.0], dtype=torch.float64)
    for i in range(0, len(x), _SUM_ROWS):
        total[1] += x[i : i + _SUM_ROWS].double().square().sum()
    return total


def _ids(x: Tensor, offset: int | None, row_ids: Tensor | None) -> Tensor:
    """Global positions of this process's rows, (n_r,) int64."""
    if row_ids is not None:
        return row_ids.to(x.device, torch.int64)
    if offset is None:
        offset = sum(dist.gather_object(len(x))[: dist.rank()])
    return torch.arange(offset, offset + len(x), device=x.device)


def draw_rows(x: Tensor, k: int, seed: int, ids: Tensor) -> Tensor:
    """K distinct rows of all processes, (K, D) fp32, the same ones for every sharding.

    Every row has a random-looking key made of its global position and the seed; the K smallest keys win, in
    order.
    """
    keys = dist.mix64(ids ^ dist.mix64(torch.tensor(seed, device=x.device)))
    mine = keys.topk(min(k, len(keys)), largest=False)
    winners = dist.all_gather_rows(mine.values).sort().values[:k]
    if bool((winners[1:] == winners[:-1]).any()):
        raise ValueError("k-means: row_ids repeat; every row needs its own position in the global order")
    drawn = mine.values <= winners[-1]
    c = torch.zeros(k, x.shape[1], device=x.device)
    c[torch.searchsorted(winners, mine.values[drawn])] = x[mine.indices[drawn]].float()
    return dist.all_reduce_sum_(c)  # every row of c is non-zero on one process only


def split_empty(c: Tensor, counts: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Centroids in which empty clusters share the place of populous ones, and how many (int64 scalar).

    Donors are drawn with probability proportional to n_k - 1, without replacement, from uniform numbers u
    (K,): an exponential race at those rates. Donor and copy part by factors 1 - e and 1 + e, e = 1/1024 with
    the sign alternating over the coordinates. As faiss does it, except that faiss draws with replacement, one
    after the other, and halves the donor's count in between.
    """
    empty = counts == 0
    finish = -u.log() / (counts - 1).clamp_min(0)
    donor = finish.argsort()[
        (empty.cumsum(0) - 1).clamp_min(0)
    ]  # the i-th empty cluster takes the i-th finisher
    filled = empty & (counts[donor] > 1)
    gives = torch.zeros_like(donor).index_add_(0, donor, filled.long()) > 0
    e = torch.full_like(c[0], 1 / 1024)
    e[1::2] *= -1
    c = torch.where(filled[:, None], c[donor] * (1 + e), torch.where(gives[:, None], c * (1 - e), c))
    return c, filled.sum()


def _faiss(x: Tensor, c: Tensor, iterations: int, metric: Metric, seed: int) -> Clusters:
    """The same clusters by faiss: an oracle, and a second opinion on speed. One process, fp32, from centroids
    c.

    Equal to ours, ties aside, while no cluster is empty; faiss always splits a populous one to refill it. It
    stops early when its objective stops changing, so there may be fewer entries. On the GPU where faiss has
    one.
    """
    try:
        import faiss
    except ImportError:
        said = "kmeans_backend 'faiss' needs faiss, which is not installed; pip install 'cluster-zoo[faiss]'"
        raise Fault("dependency-missing", f"{said}, or take 'torch'") from None

    if dist.world_size() > 1:
        said = f"kmeans_backend 'faiss' runs on one process, not {dist.world_size()}; take 'torch'"
        raise Fault("bad-config", said)
    (k, d), gpu = c.shape, x.is_cuda and faiss.get_num_gpus() > 0
    rows = x.float().cpu().numpy()
    solver: Any = faiss.Kmeans(
        d, k, niter=iterations, nredo=1, seed=seed & 0x7FFFFFFF, spherical=metric == "cosine", gpu=gpu,
        min_points_per_centroid=1, max_points_per_centroid=10**9,  # neither warn about few rows nor subsample many
    )  # fmt: skip
    solver.train(rows, init_centroids=c.cpu().numpy())
    scores, found = solver.assign(rows)
    labels = torch.from_numpy(found).to(x.device, torch.int32)
    counts = _counts(labels, k)
    objective = [float(total) / len(rows) for total in solver.obj] + [float(scores.mean(dtype="float64"))]
    reseeded = [int(step["nsplit"]) for step in solver.iteration_stats]
    centroids = torch.from_numpy(solver.centroids).to(x.device)
    return Clusters(centroids, labels, counts, objective, reseeded, int((counts == 0).sum()))


@torch.no_grad()
def two_means(x: Tensor, iterations: int = 20) -> Tensor:
    """Which rows of x (m, D) go to the second of two parts, (m,) bool: Euclidean 2-means; neither part is
    empty.

    Seeds are the row farthest from the mean and the row farthest from that one. From two different seeds no
    part can become empty, since each part's mean has a member on its side; equal rows are halved by position.
    Raises ValueError for fewer than two rows.
    """
    if len(x) < 2:
        raise ValueError(f"two_means: {len(x)} row(s) cannot be parted; it takes at least 2")
    z = x.double() - x.double().mean(0)
    a = z[z.square().sum(1).argmax()]
    b = z[(z - a).square().sum(1).argmax()]
    part = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    for _ in range(iterations + 1):
        part = z @ (b - a) > 0.5 * (b @ b - a @ a)
        n = part.sum().clamp(1, len(z) - 1)
        b_sum = part.double() @ z
        a, b = -b_sum / (len(z) - n), b_sum / n  # the rows of z sum to zero
    if bool(part.any() & ~part.all()):
        return part
    return torch.arange(len(z), device=z.device) >= len(z) // 2
