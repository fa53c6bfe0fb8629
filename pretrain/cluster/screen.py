"""Which centroids can be a row's nearest at all, by one product in bf16: fp32 scores are then computed for
those few alone.

With x' = x - mu, c'_k = c_k - mu and mu the mean centroid, the score of centroid k is, up to what is the same
for all of a row, s_k = x' . c'_k + b_k; its mean over k is zero, so the largest is not negative. Rounding
changes a value by u = 1/256 of it at most, so s_k of rounded operands is wrong by less than
    e = |x'| max|c'| (2 u + u^2 + 1.01 D 2^-23)
and the score is rounded, too. Hence no centroid can win whose rounded score is below t = (1 - 3 u) m - 2 e, m
the largest of the row: 3 u covers two such roundings and that of t; b has fp32's own, as |C_k|^2 / 2 has in
the plain score. Squares of lengths below 1e-15 are no numbers of fp32 any more, so lengths count as that much
at least, and t must be far above what AMX takes for 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.base.numerics import multiplies_bf16_tiles
from pretrain.cluster.products import inner_products

GROUP = 64  # columns per group: a row's best groups are found first, then columns within them
_LEAST = 512  # centroids from which on it pays
_BYTES = 32 << 20  # of the scores of one block of rows
_ROWS = 4096  # of a block at most
_ROUNDING = 1 / 256  # of a value to bf16, at most
_SHORTEST = 1e-15  # length that counts
_SMALLEST = 1e-30  # score that counts
_MOST = 16  # columns a row to compute in fp32, on average; above it one product of all is faster


class Screen(NamedTuple):
    """Centroids (K, D) fp32 and bias (K,) of the scores x . C_k + bias_k, and what the rough product needs.

    mean: mu (D,). rough: c~ (K', D) bf16, K' a multiple of GROUP. offset: b (K',), -inf for what is no
    centroid. error: e for |x'| = 1.
    """

    centroids: Tensor
    bias: Tensor
    mean: Tensor
    rough: Tensor
    offset: Tensor
    error: Tensor


def pays(c: Tensor) -> bool:
    """Whether centroids c (K, D) are many, on a processor that multiplies bf16 several times as fast as
    fp32.
    """
    return c.device.type == "cpu" and len(c) >= _LEAST and multiplies_bf16_tiles()


def screen(c: Tensor, bias: Tensor | None) -> Screen:
    """What `nearest` needs of centroids c (K, D) fp32; bias: -|C_k|^2 / 2 (K,) for l2, none for dot."""
    mean = c.mean(0)
    centred = c - mean
    b = centred @ mean if bias is None else -0.5 * centred.square().sum(1)
    pad = -len(c) % GROUP
    offset = F.pad(b - b.mean(), (0, pad), value=-math.inf)
    known = c.new_zeros(len(c)) if bias is None else bias
    per_unit = 2 * _ROUNDING + _ROUNDING**2 + 1.01 * c.shape[1] * 2**-23
    error = per_unit * centred.norm(dim=1).amax().clamp_min(_SHORTEST)
    return Screen(c, known, mean, F.pad(centred.bfloat16(), (0, 0, 0, pad)), offset, error)


def rows_at_once(s: Screen) -> int:
    """Rows whose rough scores stay near the processor."""
    return max(1, min(_ROWS, _BYTES // (2 * len(s.rough))))


def nearest(rows: Tensor, s: Screen) -> tuple[Tensor, Tensor] | None:
    """Best score (n,) fp32 and its first column (n,) int64 of rows (n, D) fp32; None where too few columns
    can be left out, or a value is not finite.
    """
    x = rows - s.mean
    scores = _ordered(inner_products(x.bfloat16(), s.rough, s.offset))
    groups = scores.view(len(rows), -1, GROUP).amax(2)
    largest = groups.amax(1).view(torch.bfloat16)
    least = (1 - 3 * _ROUNDING) * largest.float() - 2 * x.norm(dim=1).clamp_min(_SHORTEST) * s.error
    if not bool(((least > _SMALLEST) & (least < math.inf)).all()):
        return None
    row, column = _above(scores, groups, _ordered(least.bfloat16()))
    if len(row) > _MOST * len(rows):
        return None
    score = torch.linalg.vecdot(rows.index_select(0, row), s.centroids.index_select(0, column))
    return _first_best(row, score + s.bias[column], column, len(rows))


def _ordered(t: Tensor) -> Tensor:
    """The bits of bf16 values as int16, which compare alike where one of the two is not negative, and
    faster.
    """
    return t.view(torch.int16)


def _above(scores: Tensor, groups: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns, (P,) int64 each, of the scores (n, K') that reach `least` (n,); groups: their maxima
    (n, K' / GROUP).
    """
    row, group = (groups >= least[:, None]).nonzero(as_tuple=True)
    inside = scores.view(-1, GROUP).index_select(0, row * groups.shape[1] + group)
    at, column = (inside >= least[row, None]).nonzero(as_tuple=True)
    return row[at], group[at] * GROUP + column


def _first_best(row: Tensor, score: Tensor, column: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Per row the largest of its scores and the first column that has it; every row has one."""
    best = score.new_full((n,), -math.inf).scatter_reduce_(0, row, score, "amax")
    last = torch.iinfo(column.dtype).max
    winner = torch.where(score == best[row], column, last)
    return best, column.new_full((n,), last).scatter_reduce_(0, row, winner, "amin")
