"""Linear SVMs over a grid of costs: each stage of it starts where the one of smaller costs ended."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from benchmarks.solvers.svm import Solution, fit
from benchmarks.solvers.svm_gram import Gram

_AT_ONCE = 64  # problems of a stage; fewer leave a product with K slow, more leave less to start from
_APART = 8  # times the cost below it, and a cost starts where that one ended


def fit_costs(gram: Gram, y: Tensor, weight: Tensor, costs: Sequence[float]) -> Solution:
    """The SVMs of every cost: [..., p, costs, n] in the order of the costs; see `fit`.

    y: [..., p, n], +1 or -1; weight: [..., p, n] class weights, 0 for rows that are not in the problem; c is
    weight x cost.
    """
    p, n = y.shape[-2:]
    shape = (*y.shape[:-1], len(costs), n)
    found, last = Solution(y.new_empty(shape), y.new_empty(shape)), None
    for stage in _stages(costs, -(-_AT_ONCE // p)):
        grid = y.new_tensor([costs[i] for i in stage])[:, None]
        c = (weight.unsqueeze(-2) * grid).flatten(-3, -2)
        solved = fit(
            gram, _repeated(y, len(stage)), c, last and Solution(*(_repeated(a, len(stage)) for a in last))
        )
        for whole, part in zip(found, solved, strict=True):
            whole[..., stage, :] = part.unflatten(-2, (p, len(stage)))
        last = Solution(*(a[..., stage[-1], :] for a in found))
    return found


def _stages(costs: Sequence[float], at_once: int) -> list[list[int]]:
    """Places of the costs, rising: of neighbours that lie close, so many at once."""
    stages: list[list[int]] = []
    for i in sorted(range(len(costs)), key=lambda i: costs[i]):
        if stages and len(stages[-1]) < at_once and costs[i] < _APART * costs[stages[-1][-1]]:
            stages[-1].append(i)
        else:
            stages.append([i])
    return stages


def _repeated(a: Tensor, times: int) -> Tensor:
    """[..., p times, n], each row of [..., p, n] that often in a row."""
    return a.repeat_interleave(times, dim=-2)
