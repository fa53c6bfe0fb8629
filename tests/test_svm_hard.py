"""The batched SVM solver on rows on which a solver could stop short, against a primal Newton method."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.solvers import svm
from benchmarks.solvers.svm_gram import gram
from tests import newton_svm
from tests.svm_problems import COSTS, dual_objective, objective, problem, weights


def hard(kind: str) -> tuple[Tensor, Tensor]:
    """Rows and labels on which a solver could stop short."""
    x, y = problem(90, 150, seed=8, shift=0.2)
    if kind == "nearly parallel":
        x[:, :-1] = 1 + 1e-3 * x[:, :-1]
    elif kind == "wide spectrum":
        x[:, :-1] *= 10.0 ** -torch.linspace(0, 6, 150).double()
    elif kind == "separable":
        x[:, 0] = 3 * y
    elif kind == "duplicated":
        x, y = x[:30].repeat(3, 1), y[:30].repeat(3)
    elif kind == "contradictory":
        x, y = x[:45].repeat(2, 1), torch.cat([y[:45], -y[:45]])
    elif kind == "single positive":
        y = torch.where(torch.arange(90) == 4, 1.0, -1.0).double()
    elif kind == "narrow":
        x = torch.cat([x[:, :3], x[:, -1:]], dim=1)
    return x, y


HARD = (
    "nearly parallel",
    "wide spectrum",
    "separable",
    "duplicated",
    "contradictory",
    "single positive",
    "narrow",
)


@pytest.mark.parametrize("kind", HARD)
def test_hard_rows_have_the_scores_of_the_primal_method(kind: str) -> None:
    x, y = hard(kind)
    grid = (1e4, *COSTS)
    c = torch.stack([weights(y, cost) for cost in grid])
    found = svm.fit(gram(x), y.expand_as(c), c)
    literal = newton_svm.fit(newton_svm.rotate(x), y[:, None].expand(-1, len(grid)), c.T).T
    scores = literal @ x @ x.T
    torch.testing.assert_close(found.scores, found.beta @ x @ x.T, rtol=0, atol=1e-7)
    error = (found.scores - scores).abs().amax(1) / scores.abs().amax(1)
    assert error.max() < 1e-5, error  # of which the primal method has 4e-6, on nearly parallel rows
    for j in range(len(grid)):
        upper = objective(x.T @ found.beta[j], x, y, c[j])
        assert abs(upper - dual_objective(found.beta[j], x, y, c[j])) <= 1e-9 * upper
