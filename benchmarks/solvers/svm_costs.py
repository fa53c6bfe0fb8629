"""Linear SVMs over a grid of costs: each stage of it starts where the one of smaller costs ended."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from benchmarks.solvers.svm import Solution, fit
from benchmarks.solvers.svm_gram import Gram

_AT_ONCE = 64  # problems of a group; fewer leave a product with K slow, more leave less to start from


def fit_costs(gram: Gram, y: Tensor, weight: Tensor, costs: Sequence[float]) -> Solution:
    """The SVMs of every cost: [..., p, costs, n] in the order of the costs; see `fit`.

    y: [..., p, n], +1 or -1; weight: [..., p, n] class weights, 0 for rows that are not in the problem; c is
    weight x cost.
    """
    p, n = y.shape[-2:]
    at_once = -(-_AT_ONCE // p)
    rising = sorted(range(len(costs)), key=lambda i: costs[i])
    shape = (*y.shape[:-1], len(costs), n)
    found, last = Solution(y.new_empty(shape), y.new_empty(shape)), None
    for first in range(0, len(costs), at_once):
        stage = rising[first : first + at_once]
        grid = y.new_tensor([costs[i] for i in stage])[:, None]
        c = (weight.unsqueeze(-2) * grid).flatten(-3, -2)
        solved = fit(
            gram, _repeated(y, len(stage)), c, last and Solution(*(_repeated(a, len(stage)) for a in last))
        )
        for whole, part in zip(found, solved, strict=True):
            whole[..., stage, :] = part.unflatten(-2, (p, len(stage)))
        last = Solution(*(a[..., rising[first + len(stage) - 1], :] for a in found))
    return found


def _repeated(a: Tensor, times: int) -> Tensor:
    """[..., p times, n], each row of [..., p, n] that often in a row."""
    return a.repeat_interleave(times, dim=-2)
