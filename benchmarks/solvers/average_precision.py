"""Average precision of many score columns at once, in the two definitions the benchmarks need.

Precision changes its running maximum, and recall its value, at positive rows alone. So a column is sorted
without its row numbers, and each of its few positives is looked up among the sorted negatives.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


def average_precision(scores: Tensor, positive: Tensor, valid: Tensor) -> Tensor:
    """Non-interpolated average precision of every column: [p] float64 fractions, as scikit-learn defines it.

    AP = sum over thresholds of (recall step x precision). Rows with equal scores share one threshold, so
    their order does not matter. scores: [n, p] floating, finite; positive, valid: [n, p] bool, rows that are
    not valid take no part. Raises: ValueError where a column has no valid positive row.
    """
    ranks = _ranks(scores, positive, valid)
    # Down to the end of its ties, a row has this many positives above it or beside it.
    ascending = ranks.score.flip(-1).contiguous()
    found = ascending.shape[-1] - torch.searchsorted(ascending, ranks.score)
    return _mean(found.double() / (found + ranks.above + ranks.beside), ranks.total)


def voc_ap(scores: Tensor, positive: Tensor, valid: Tensor) -> Tensor:
    """All-point interpolated average precision of every column: [p] float64 fractions (PASCAL VOC 2010 and
    later).

    Precision is replaced by its running maximum from the right and summed over the recall steps. Rows are
    ranked by a stable ascending sort read backwards, so equal scores are taken in reverse row order: this is
    the order of `numpy.argsort(scores)[::-1]` in the released evaluation scripts, with the unstable sort made
    stable. scores: [n, p] floating, finite; positive, valid: [n, p] bool, rows that are not valid take no
    part. Raises: ValueError where a column has no valid positive row.
    """
    ranks = _ranks(scores, positive, valid)
    above = ranks.above
    # Only here the order of rows matters: between a positive and a negative of the same score.
    tied = (ranks.listed & (ranks.beside > 0)).any(dim=-1).nonzero().flatten()
    if len(tied):
        above[tied] = _above_in_row_order(scores[:, tied], positive[:, tied], valid[:, tied], above.shape[-1])
    found = torch.arange(1, above.shape[-1] + 1, device=above.device)
    precision = torch.where(ranks.listed, found / (found + above).double(), 0.0)
    return _mean(precision.flip(-1).cummax(dim=-1).values.flip(-1), ranks.total)


class _Ranks(NamedTuple):
    """[p, most] each, best first. score: of the positives, -inf where a column has fewer, and not `listed`;
    above, beside: how many valid negatives have a higher, an equal score. total: [p] positives.
    """

    score: Tensor
    listed: Tensor
    above: Tensor
    beside: Tensor
    total: Tensor


def _ranks(scores: Tensor, positive: Tensor, valid: Tensor) -> _Ranks:
    value, counted = scores.mT.contiguous(), valid.mT
    hit = positive.mT & counted
    count = hit.sum(dim=-1)
    _require_positives(count)
    score = _sorted(_listed(value, hit, count, -torch.inf)).flip(-1).contiguous()
    against = _sorted(torch.where(counted & ~hit, value, -torch.inf))
    n = against.shape[-1]
    above = n - torch.searchsorted(against, score, right=True)
    beside = n - torch.searchsorted(against, score) - above
    return _Ranks(
        score, torch.arange(score.shape[-1], device=score.device) < count[:, None], above, beside, count
    )


def _listed(value: Tensor, hit: Tensor, count: Tensor, filler: float) -> Tensor:
    """[p, most] the values that are hit, in row order, filled up."""
    column = hit.nonzero()[:, 0]
    place = torch.arange(len(column), device=column.device) - (count.cumsum(0) - count)[column]
    wide = value.new_full((len(count), int(count.max())), filler)
    wide[column, place] = value[hit]
    return wide


def _sorted(value: Tensor) -> Tensor:
    """Ascending. On the CPU numpy is several times faster than torch, which sorts the places too."""
    if value.device.type == "cpu":
        return torch.from_numpy(np.sort(np.ascontiguousarray(value.numpy()), axis=-1))
    return value.contiguous().sort(dim=-1).values


def _above_in_row_order(scores: Tensor, positive: Tensor, valid: Tensor, most: int) -> Tensor:
    """[p, most] `above`, with the negatives of the same score that come first: those of later rows."""
    order = scores.mT.contiguous().sort(dim=-1, stable=True).indices.flip(-1)
    counted = valid.mT.gather(-1, order)
    hit = positive.mT.gather(-1, order) & counted
    below = (counted & ~hit).cumsum(dim=-1)
    listed = _listed(below, hit, hit.sum(dim=-1), 0)
    return torch.nn.functional.pad(listed, (0, most - listed.shape[-1]))


def _mean(precision: Tensor, count: Tensor) -> Tensor:
    """Over the positives. The sum comes first: a perfect ranking then gives exactly 1, which selecting "the
    first best" depends on.
    """
    listed = torch.arange(precision.shape[-1], device=precision.device) < count[:, None]
    return torch.where(listed, precision, 0.0).sum(dim=-1) / count


def _require_positives(count: Tensor) -> None:
    empty = (count == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"average precision: columns {empty[:10]} ({len(empty)} of {len(count)}) have no valid positive row, "
            "so it is undefined there; leave them out"
        )
