"""The nearest centroid of every row: k-means' E-step, in
tiles, so that the matrix of all scores never exists.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.cluster.products import inner_products

Metric = Literal["l2", "dot"]
Precision = Literal["fp32", "tf32", "bf16"]

_GROUP = 64  # columns per group of the CPU's two-level argmax
# Bytes of centroids and of scores in a tile: both stay in cache on the CPU; on the GPU kernels are few and
# large.
TILE = {"cpu": (1 << 20, 4 << 20), "cuda": (16 << 20, 1 << 30)}


@torch.no_grad()
def assign(
    x: Tensor,
    centroids: Tensor,
    metric: Metric = "l2",
    precision: Precision = "fp32",
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Label (n,) int32 and best score (n,) fp32 of every row of x (n, D) among centroids (K, D).

    Scores are x_i . C_k - |C_k|^2 / 2 (l2: the nearest wins) or x_i . C_k (dot); the lowest index wins ties.
    chunk: rows per tile, by default from a byte budget. precision: of the operands; sums are fp32. "tf32" is
    fp32 on the CPU. "bf16" rounds alike everywhere, but is faster only where products of bf16 have fp32
    results. Raises ValueError on another metric.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"nearest: the metric must be one of {', '.join(get_args(Metric))}, got '{metric}'")
    c = _operand(centroids.float(), precision)
    bias = -0.5 * c.float().square().sum(1) if metric == "l2" else None
    if x.device.type == "cpu":  # whole groups only; a bias of -inf never wins
        pad = -len(c) % _GROUP
        bias = F.pad(c.new_zeros(len(c)) if bias is None else bias, (0, pad), value=-math.inf)
        c = F.pad(c, (0, 0, 0, pad))
    centroid_bytes, score_bytes = TILE["cpu" if x.device.type == "cpu" else "cuda"]
    columns = max(1, centroid_bytes // (4 * c.shape[1] * _GROUP)) * _GROUP
    step = chunk or max(1, score_bytes // (4 * min(len(c), columns)))
    spans = [slice(j, j + columns) for j in range(0, len(c), columns)]
    tiles = [(c[span], None if bias is None else bias[span]) for span in spans]
    labels = torch.empty(len(x), dtype=torch.int32, device=x.device)
    best = torch.empty(len(x), device=x.device)
    with matmul_precision(precision):
        for first in range(0, len(x), step):
            rows = _operand(x[first : first + step], precision)
            best[first : first + step], labels[first : first + step] = _best_of(rows, tiles)
    return labels, best


def _best_of(rows: Tensor, tiles: list[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor]:
    """Largest score of each row and its column, tile after tile of centroids."""
    best, label = _row_max(inner_products(rows, *tiles[0]))
    passed = len(tiles[0][0])
    for c, bias in tiles[1:]:
        value, index = _row_max(inner_products(rows, c, bias))
        better = value > best
        best, label = torch.where(better, value, best), torch.where(better, index + passed, label)
        passed += len(c)
    return best, label


def _row_max(s: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum of each row and its first column.

    max with indices costs the CPU half as much as the product itself. The plain maximum is vectorised, so it
    goes over all columns in groups, and indices are looked for among the group maxima, then within one group.
    """
    if s.device.type != "cpu":
        value, column = s.max(1)
        return value, column
    groups = s.view(len(s), -1, _GROUP)
    value, group = groups.amax(2).max(1)
    within = groups[torch.arange(len(s)), group].argmax(1)
    return value, group * _GROUP + within


def _operand(t: Tensor, precision: Precision) -> Tensor:
    """t as the product wants it. The CPU has no bf16 product
    with fp32 result: there, values rounded to bf16.
    """
    if precision != "bf16":
        return t.float().contiguous()
    return t.bfloat16().contiguous() if t.is_cuda else t.bfloat16().float()


@contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Sets how fp32 products are computed, whatever the training loop set, and puts that back."""
    cuda: Any = torch.backends.cuda.matmul
    cpu: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # set in the module object, not the stub
    kept = cuda.fp32_precision, cpu.fp32_precision
    cuda.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    cpu.fp32_precision = "bf16" if precision == "bf16" else "ieee"
    try:
        yield
    finally:
        cuda.fp32_precision, cpu.fp32_precision = kept
