"""Rows to cluster, and the literal algorithm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_rows(n: int, d: int, centres: int, seed: int = 0, noise: float = 0.5) -> Tensor:
    """Unit rows around random centres."""
    g = torch.Generator().manual_seed(seed)
    middle = torch.randn(centres, d, generator=g)
    x = middle[torch.randint(centres, (n,), generator=g)] + noise * torch.randn(n, d, generator=g)
    return F.normalize(x)


Array = np.ndarray[Any, np.dtype[np.float64]]


def literal_kmeans(x: Array, c: Array, iterations: int, metric: str) -> tuple[Array, Array, list[float]]:
    """Lloyd's algorithm one number at a time: centroids, labels, and the objective of each E-step."""
    c, objective = c.astype(np.float64).copy(), []
    for step in range(iterations + 1):
        if metric == "cosine":
            for k in range(len(c)):
                c[k] = c[k] / math.sqrt(sum(v * v for v in c[k]))
        labels, total = np.zeros(len(x), dtype=np.int64), 0.0
        for i in range(len(x)):
            best = math.inf
            for k in range(len(c)):
                if metric == "l2":
                    cost = sum((a - b) ** 2 for a, b in zip(x[i], c[k], strict=True))
                else:
                    cost = -sum(a * b for a, b in zip(x[i], c[k], strict=True))
                if cost < best:
                    best, labels[i] = cost, k
            total += best if metric == "l2" else -best
        objective.append(total / len(x))
        if step == iterations:
            break
        for k in range(len(c)):
            members = [x[i] for i in range(len(x)) if labels[i] == k]
            if members:
                c[k] = sum(members) / len(members)
    return c, labels, objective
