"""Online clustering memory: features, labels and centroids of all images, kept up to date by the rows a step
touches.

The memories of Online Deep Clustering (Zhan et al., CVPR 2020): sample memory F (N, D) and y (N,), centroid
memory C (K, D). Ours besides: sums S (K, D) and histogram h (K,), so that no step passes over all N images
and a centroid refresh is one division. N images, K clusters, D dimensions, B rows of a step, m the smallest
allowed cluster.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from pretrain.cluster.kmeans import two_means
from pretrain.cluster.nearest import assign as nearest

Metric = Literal["dot", "cosine", "l2"]


class Memory(nn.Module):
    """F fp32 (N, D); y int64 (N,); C, S fp32 (K, D); h int64
    (K,); changed: share of labels the last step moved.
    """

    F: Tensor
    y: Tensor
    C: Tensor
    S: Tensor
    h: Tensor
    changed: Tensor

    def __init__(self, F: Tensor, y: Tensor, C: Tensor, S: Tensor, h: Tensor) -> None:
        super().__init__()
        for name, buffer in (("F", F), ("y", y), ("C", C), ("S", S), ("h", h), ("changed", F.new_zeros(()))):
            self.register_buffer(name, buffer)


def blank(n: int, clusters: int, dim: int) -> Memory:
    """A memory of n images that all lie in cluster 0, at
    zero: what a run has before its initial clustering.
    """
    h = torch.zeros(clusters, dtype=torch.int64)
    h[0] = n
    centroids = torch.zeros(clusters, dim)
    return Memory(torch.zeros(n, dim), torch.zeros(n, dtype=torch.int64), centroids, centroids.clone(), h)


def remember(features: Tensor, labels: Tensor, clusters: int) -> Memory:
    """A memory of its own from features (N, D) and labels (N,);
    centroids are means, those of empty clusters zero.
    """
    F, y = features.clone(), labels.to(torch.int64, copy=True)
    h = torch.bincount(y, minlength=clusters)
    S = sums(F, y, clusters)
    return Memory(F, y, S / h.clamp_min(1)[:, None], S, h)


def sums(features: Tensor, y: Tensor, clusters: int) -> Tensor:
    """Sums fp32 (K, D) of the features (N, D) of each label, the same bits on every process."""
    S = torch.zeros(clusters, features.shape[1], device=features.device)
    return _add(S, y, features)


def _add(S: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """S.index_add_(0, rows, values) in one order: a GPU's atomic additions would differ in the last bits.

    Each process keeps its own S, and one bit can move a label, so processes would drift apart.
    """
    kept = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(
        True
    )  # index_add then sorts its rows on a GPU; on the CPU it is in order anyway
    try:
        return S.index_add_(0, rows, values)
    finally:
        torch.use_deterministic_algorithms(kept)


def assign(C: Tensor, f: Tensor, metric: Metric, allowed: Tensor | None = None) -> Tensor:
    """Labels int64 (B,) of features (B, D): the best of the allowed clusters, the lowest id on ties."""
    if allowed is not None:
        ids = allowed.nonzero().squeeze(1)
        return ids[assign(C[ids], f, metric)]
    if metric == "cosine":
        C = nnf.normalize(C)
    return nearest(f, C, "l2" if metric == "l2" else "dot")[0].long()


def update(memory: Memory, index: Tensor, z: Tensor, momentum: float, metric: Metric) -> None:
    """Blends unit features z (B, D) into rows `index` (B,) and re-labels them against the frozen centroids.

    A sample drawn twice counts once: its last occurrence wins, and every row of it writes that same value.
    """
    last = last_occurrence(index)
    winner = last == torch.arange(len(index), device=index.device)
    old, yo = memory.F[index], memory.y[index]
    new = nnf.normalize((1 - momentum) * old + momentum * z[last])
    yn = assign(memory.C, new, metric)
    once = winner[:, None].to(new.dtype)
    _add(_add(memory.S, yo, old * -once), yn, new * once)
    memory.h.index_add_(0, yo, -winner.long()).index_add_(0, yn, winner.long())
    memory.F[index], memory.y[index] = new, yn
    memory.changed = ((yn != yo) & winner).sum() / winner.sum()


def last_occurrence(index: Tensor) -> Tensor:
    """For each position the last position with the same value:
    int64 (B,), shape known without looking at values.
    """
    values, order = index.sort(stable=True)
    return torch.empty_like(order).scatter_(
        0, order, order[torch.searchsorted(values, values, right=True) - 1]
    )


def refresh(memory: Memory) -> None:
    """C = S / h; the centroid of an empty cluster stays where it was."""
    memory.C = torch.where(memory.h[:, None] > 0, memory.S / memory.h.clamp_min(1)[:, None], memory.C)


def handle_small(memory: Memory, m: int, metric: Metric) -> int:
    """Dissolves clusters below m into the others, refills their ids by splitting the largest; returns how
    many.

    Centroids that absorb members stay as they are until the next refresh; only split pairs get new ones. If
    every cluster is small, the largest takes the members of all others.
    """
    small = memory.h < m
    small &= ~(small.all() & (torch.arange(len(small), device=small.device) == memory.h.argmax()))
    if not bool(small.any()):
        return 0
    moved = small[memory.y].nonzero().squeeze(1)
    if len(moved):
        move(memory, moved, assign(memory.C, memory.F[moved], metric, allowed=~small))
    for e in small.nonzero().squeeze(1).tolist():
        q = int(memory.h.argmax())
        members = (memory.y == q).nonzero().squeeze(1)
        part = members[two_means(memory.F[members])]
        move(memory, part, torch.full_like(part, e))
        pair = torch.tensor([q, e], device=small.device)
        memory.C[pair] = memory.S[pair] / memory.h[pair, None]
    return int(small.sum())


def move(memory: Memory, rows: Tensor, to: Tensor) -> None:
    """Gives rows (n,) the labels `to` (n,), with sums and histogram."""
    f, one = memory.F[rows], torch.ones_like(rows)
    _add(_add(memory.S, memory.y[rows], -f), to, f)
    memory.h.index_add_(0, memory.y[rows], -one).index_add_(0, to, one)
    memory.y[rows] = to


def class_weights(h: Tensor, power: float) -> Tensor:
    """Loss weights fp32 (K,) proportional to h^-power, mean 1: the scale of the loss does not depend on K."""
    w = (h.float() + 1e-5) ** -power
    return w / w.mean()


def check_memory(memory: Memory) -> None:
    """Asserts what must hold between steps: labels in range,
    exact histogram, unit features, sums of the members.
    """
    K = len(memory.h)
    assert 0 <= int(memory.y.min()) <= int(memory.y.max()) < K, "a label is out of range"
    assert torch.equal(memory.h, torch.bincount(memory.y, minlength=K)), (
        "the histogram differs from the labels"
    )
    norm = memory.F.norm(dim=1)
    assert bool(((norm - 1).abs() < 1e-3).logical_or(norm == 0).all()), "a feature is neither unit nor zero"
    S = sums(memory.F, memory.y, K)
    assert bool((S - memory.S).norm() <= 1e-4 * S.norm().clamp_min(1)), "sums differ from the members'"
    assert all(bool(t.isfinite().all()) for t in (memory.F, memory.C, memory.S)), "a memory is not finite"
