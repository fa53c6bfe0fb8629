"""Is a clustering still one? Figures for metrics.jsonl, what tells a collapse, and what to say then."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pretrain.base import dist
from pretrain.cluster.agreement import sizes_summary
from pretrain.cluster.kmeans import Clusters

ROWS = 4096  # features looked at
LARGEST = 0.5  # share of the images in one cluster above which a clustering has collapsed
RANK = 2.0  # effective rank of the features below which they have
EMPTY = 0.05  # share of the clusters without an image above which too many are dead
IMBALANCE = 10.0  # K sum (n_k / N)^2 above which the sizes are uneven; 1 if all are equal
STUCK = 0.01  # nats between a loss and that of a uniform prediction below which nothing is learned


def effective_rank(x: Tensor) -> Tensor:
    """exp(entropy) of the normalised singular values of centred rows (n, D), fp32 scalar (Roy and Vetterli
    2007).

    1 if the rows differ along one direction only, D if along all alike; 1 if they do not differ at all.
    """
    x = sample(x, ROWS).float()
    x = x - x.mean(0)
    gram = x.T @ x if x.shape[1] <= len(x) else x @ x.T
    s = torch.linalg.eigvalsh(gram.double()).clamp_min(0).sqrt()
    rank: Tensor = torch.special.entr(s / s.sum().clamp_min(1e-30)).sum().exp()
    return rank.float()


def sample(x: Tensor, rows: int = 0) -> Tensor:
    """`rows` of the rows of x, evenly spaced (ids may be sorted
    by class); by default a process's part of ROWS.
    """
    rows = rows or max(1, ROWS // dist.world_size())
    if len(x) <= rows:
        return x
    # Integers: fp32 cannot tell neighbouring rows apart beyond 16.7 million.
    return x[torch.arange(rows, device=x.device) * (len(x) - 1) // max(1, rows - 1)]


def of_kmeans(found: Clusters) -> Tensor:
    """First and last objective, clusters re-seeded and clusters
    left empty by a k-means, float64 (4,) on its device.
    """
    figures = [found.objective[0], found.objective[-1], float(sum(found.reseeded)), float(found.empty)]
    return torch.tensor(figures, dtype=torch.float64, device=found.counts.device)


def kmeans_figures(figures: Tensor) -> dict[str, float]:
    """The same by name; the mean over several k-means (..., 4)."""
    names = ("objective_start", "objective", "reseeded", "kmeans_empty")
    return dict(zip(names, figures.reshape(-1, 4).mean(0).tolist(), strict=True))


def sizes(counts: Tensor) -> dict[str, float]:
    """The summary of cluster sizes (K,) by name: size_empty, size_min, ..., size_imbalance."""
    return {f"size_{name}": float(value) for name, value in sizes_summary(counts)._asdict().items()}


def warning(counts: Tensor, rank: float, advice: str) -> dict[str, str]:
    """{"warning": one sentence} about the worst of clusterings of sizes `counts` (..., K) or of features, or
    nothing.

    One cluster that holds most images comes first, then features of few directions, dead clusters, uneven
    sizes.
    """
    counts = counts.double()
    shares = counts / counts.sum(-1, keepdim=True).clamp_min(1)
    share, empty = float(shares.max()), float((counts == 0).double().mean(-1).max())
    imbalance = counts.shape[-1] * float(shares.square().sum(-1).max())
    # One of two or three clusters may hold half.
    if share > max(LARGEST, min(0.9, 2 / counts.shape[-1])):
        return {"warning": f"clusters collapse: one holds {share:.0%} of the images; {advice}"}
    if rank < RANK:
        return {"warning": f"features collapse: effective rank {rank:.2f} (below {RANK:g}); {advice}"}
    if empty > EMPTY:
        return {"warning": f"clusters die: {empty:.0%} of them hold no image (above {EMPTY:.0%}); {advice}"}
    if imbalance > IMBALANCE:
        return {"warning": f"clusters are uneven: imbalance {imbalance:.1f} (above {IMBALANCE:g}); {advice}"}
    return {}


def of_features(x: Tensor, advice: str) -> dict[str, float | str]:
    """effective_rank of features (n, D), and a warning where they have collapsed."""
    rank = float(effective_rank(x))
    said = f"features collapse: effective rank {rank:.2f} (below {RANK:g}); {advice}"
    return {"effective_rank": rank} | ({"warning": said} if rank < RANK else {})


def stuck(loss: float, outputs: int, advice: str) -> dict[str, str]:
    """{"warning": one sentence} about a loss in nats that equals
    a uniform prediction's over `outputs`, or nothing.
    """
    uniform = math.log(outputs)
    if abs(loss - uniform) >= STUCK:
        return {}
    return {
        "warning": f"nothing is learned: the loss {loss:.3f} is that of equal predictions, {uniform:.3f}; {advice}"
    }
