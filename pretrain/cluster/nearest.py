"""The nearest centroid of every row: k-means' E-step, in
tiles, so that the matrix of all scores never exists.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.cluster import screen
from pretrain.cluster.products import inner_products
from pretrain.cluster.screen import GROUP

Metric = Literal["l2", "dot"]
Precision = Literal["fp32", "tf32", "bf16"]
Tiles = list[tuple[Tensor, Tensor | None]]  # of centroids (k, D), and of their bias (k,)

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
    Where `screen.pays`, most are ruled out before they are computed; labels then differ in fp32's rounding.
    chunk: rows per tile, by default from a byte budget. precision: of the operands; sums are fp32. "tf32" is
    fp32 on the CPU. "bf16" rounds alike everywhere, but is faster only where products of bf16 have fp32
    results. Raises ValueError on another metric.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"nearest: the metric must be one of {', '.join(get_args(Metric))}, got '{metric}'")
    c = _operand(centroids.float(), precision)
    bias = -0.5 * c.float().square().sum(1) if metric == "l2" else None
    screened = screen.screen(c, bias) if precision != "bf16" and screen.pays(c) else None
    tiles = cache(partial(_tiles, c, bias))
    step = chunk or (screen.rows_at_once(screened) if screened else _rows_at_once(tiles()))
    labels = torch.empty(len(x), dtype=torch.int32, device=x.device)
    best = torch.empty(len(x), device=x.device)
    with matmul_precision(precision):
        for first in range(0, len(x), step):
            rows = _operand(x[first : first + step], precision)
            found = screen.nearest(rows, screened) if screened else None
            best[first : first + step], labels[first : first + step] = found or _best_of(rows, tiles())
    return labels, best


def _tiles(c: Tensor, bias: Tensor | None) -> Tiles:
    """Centroids and their bias in parts of a byte budget; on the CPU whole groups of columns."""
    if c.device.type == "cpu":  # a bias of -inf never wins
        pad = -len(c) % GROUP
        bias = F.pad(c.new_zeros(len(c)) if bias is None else bias, (0, pad), value=-math.inf)
        c = F.pad(c, (0, 0, 0, pad))
    columns = max(1, _budget(c)[0] // (4 * c.shape[1] * GROUP)) * GROUP
    spans = [slice(j, j + columns) for j in range(0, len(c), columns)]
    return [(c[span], None if bias is None else bias[span]) for span in spans]


def _rows_at_once(tiles: Tiles) -> int:
    """Rows whose scores of one tile fit into its byte budget."""
    c = tiles[0][0]
    return max(1, _budget(c)[1] // (4 * len(c)))


def _budget(t: Tensor) -> tuple[int, int]:
    return TILE["cpu" if t.device.type == "cpu" else "cuda"]


def _best_of(rows: Tensor, tiles: Tiles) -> tuple[Tensor, Tensor]:
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
    groups = s.view(len(s), -1, GROUP)
    value, group = groups.amax(2).max(1)
    within = groups[torch.arange(len(s)), group].argmax(1)
    return value, group * GROUP + within


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
