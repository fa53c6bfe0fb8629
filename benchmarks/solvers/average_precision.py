"""Average precision of many score columns at once, in the two definitions the benchmarks need."""

from __future__ import annotations

import torch
from torch import Tensor


def average_precision(scores: Tensor, positive: Tensor, valid: Tensor) -> Tensor:
    """Non-interpolated average precision of every column: [p] float64 fractions, as scikit-learn defines it.

    AP = sum over thresholds of (recall step x precision). Rows with equal scores share one threshold, so
    their order does not matter. scores: [n, p] floating; positive, valid: [n, p] bool, rows that are not
    valid take no part. Raises: ValueError where a column has no valid positive row.
    """
    values, order = scores.mT.contiguous().sort(dim=-1, descending=True)
    hit, precision, _ = _ranked(order, positive, valid)
    n = values.shape[-1]
    rank = torch.arange(n, device=values.device).expand_as(values)
    last = torch.ones_like(hit)
    last[:, :-1] = values[:, 1:] != values[:, :-1]
    # Index of the last row of each row's group of ties: the nearest group end at or below it.
    end = torch.where(last, rank, n).flip(-1).cummin(dim=-1).values.flip(-1)
    return _mean_over_positives(precision.gather(-1, end), hit)


def voc_ap(scores: Tensor, positive: Tensor, valid: Tensor) -> Tensor:
    """All-point interpolated average precision of every column: [p] float64 fractions (PASCAL VOC 2010 and
    later).

    Precision is replaced by its running maximum from the right and summed over the recall steps. Rows are
    ranked by a stable ascending sort read backwards, so equal scores are taken in reverse row order: this is
    the order of `numpy.argsort(scores)[::-1]` in the released evaluation scripts, with the unstable sort made
    stable. scores: [n, p] floating; positive, valid: [n, p] bool, rows that are not valid take no part.
    Raises: ValueError where a column has no valid positive row.
    """
    hit, precision, _ = _ranked(_descending(scores), positive, valid)
    return _mean_over_positives(_envelope(precision), hit)


def _descending(scores: Tensor) -> Tensor:
    return scores.mT.contiguous().sort(dim=-1, stable=True).indices.flip(-1)


def _ranked(order: Tensor, positive: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """([p, n] positive at this rank, precision down to this rank, number of positives down to this rank)."""
    counted = valid.mT.gather(-1, order)
    hit = positive.mT.gather(-1, order) & counted
    found = hit.cumsum(dim=-1)
    empty = (found[:, -1] == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"average precision: columns {empty[:10]} ({len(empty)} of {len(found)}) have no valid positive row, "
            "so it is undefined there; leave them out"
        )
    precision = found.double() / counted.cumsum(dim=-1).clamp(min=1)
    return hit, precision, found


def _envelope(precision: Tensor) -> Tensor:
    return precision.flip(-1).cummax(dim=-1).values.flip(-1)


def _mean_over_positives(precision: Tensor, hit: Tensor) -> Tensor:
    # Recall moves by 1 / (number of positives) at each positive row and nowhere else. The sum comes first: a
    # perfect ranking then gives exactly 1, which selecting "the first best" depends on.
    return torch.where(hit, precision, 0.0).sum(dim=-1) / hit.sum(dim=-1)
