"""Is a clustering still one? Figures for metrics.jsonl, what tells a collapse, and what to say then."""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.clustering import Clusters
from pretrain.partitions import sizes_summary

ROWS = 4096  # features looked at
LARGEST = 0.5  # share of the images in one cluster above which a clustering has collapsed
RANK = 2.0  # effective rank of the features below which they have


def effective_rank(x: Tensor) -> Tensor:
    """exp(entropy) of the normalised singular values of centred rows (n, D), fp32 scalar (Roy and Vetterli 2007).

    1 if the rows differ along one direction only, D if along all alike; 1 if they do not differ at all.
    """
    x = x[:ROWS].float() - x[:ROWS].float().mean(0)
    gram = x.T @ x if x.shape[1] <= len(x) else x @ x.T
    s = torch.linalg.eigvalsh(gram.double()).clamp_min(0).sqrt()
    rank: Tensor = torch.special.entr(s / s.sum().clamp_min(1e-30)).sum().exp()
    return rank.float()


def of_kmeans(found: Clusters) -> Tensor:
    """First and last objective, clusters re-seeded and clusters left empty by a k-means, float64 (4,) on its device."""
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
    """{"warning": one sentence} about a collapse of clusters of sizes `counts` (K,) or of features, or nothing."""
    share = float(counts.max() / counts.sum().clamp_min(1))
    if share > LARGEST:
        return {"warning": f"clusters collapse: one holds {share:.0%} of the images; {advice}"}
    if rank < RANK:
        return {"warning": f"features collapse: effective rank {rank:.2f} (below {RANK:g}); {advice}"}
    return {}
