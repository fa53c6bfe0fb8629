"""The batched SVM solver against hand solutions, liblinear, and L-BFGS on the objective."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.svm import LinearSVC
from torch import Tensor

from benchmarks.solvers import svm
from benchmarks.solvers.svm import Solution
from benchmarks.solvers.svm_costs import fit_costs
from benchmarks.solvers.svm_gram import gram
from tests.svm_problems import COSTS, dual_objective, fit, objective, problem, weights


def liblinear(x: Tensor, y: Tensor, cost: float) -> NDArray[np.float64]:
    model = LinearSVC(C=cost, class_weight={1: 2, -1: 1}, dual=False, tol=1e-12, max_iter=10**5)
    model.fit(x[:, :-1].numpy(), y.numpy())
    return np.append(model.coef_[0], model.intercept_)


def test_one_row_has_the_hand_computed_solution() -> None:
    one = torch.ones(1, 1).double()
    c = torch.tensor([[0.5, 2.0, 0.0]]).double()
    # min w^2/2 + c (1 - w)^2: w = 2c / (1 + 2c).
    torch.testing.assert_close(fit(one, one.expand(1, 3), c), torch.tensor([[0.5, 0.8, 0.0]]).double())


def test_two_weighted_rows_have_the_hand_computed_solution() -> None:
    x, y = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]).double(), torch.tensor([[1.0], [-1.0]]).double()
    # Stationarity with c = 2, 1: 7w + 2b = 6 and 2w + 7b = 2.
    w = x.T @ fit(x, y, torch.tensor([[2.0], [1.0]]).double())
    torch.testing.assert_close(w, torch.tensor([[38 / 45], [2 / 45]]).double())


@pytest.mark.parametrize(("n", "d", "shift"), [(40, 150, 0.5), (150, 12, 0.3), (80, 80, 3.0)])
@pytest.mark.case(43)
def test_every_cost_gives_the_scores_and_objective_of_liblinear(n: int, d: int, shift: float) -> None:
    x, y = problem(n, d, seed=n, shift=shift)
    c = torch.stack([weights(y, cost) for cost in COSTS], dim=1)
    beta = fit(x, y[:, None].expand_as(c), c)
    for j, cost in enumerate(COSTS):
        w, reference = x.T @ beta[:, j], torch.from_numpy(liblinear(x, y, cost))
        ours, theirs = (objective(v, x, y, c[:, j]).item() for v in (w, reference))
        assert ours <= theirs * (1 + 1e-11)
        scores = x @ reference
        torch.testing.assert_close(x @ w, scores, rtol=0, atol=2e-6 * float(scores.abs().max()))


def test_the_literal_objective_has_no_lower_point() -> None:
    x, y = problem(60, 30, seed=1)
    c = weights(y, 1.0)
    w = x.T @ fit(x, y[:, None], c[:, None])[:, 0]

    def value_and_slope(v: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        point = torch.from_numpy(v).requires_grad_()
        value = objective(point, x, y, c)
        value.backward()
        assert point.grad is not None
        return value.item(), point.grad.numpy()

    options = {"maxiter": 5000, "ftol": 1e-16, "gtol": 1e-11}
    found = minimize(value_and_slope, np.zeros(31), jac=True, method="L-BFGS-B", options=options)
    assert objective(w, x, y, c).item() <= found.fun * (1 + 1e-14)
    np.testing.assert_allclose(w.numpy(), found.x, atol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(300, 40), (120, 400), (20, 500)])
def test_the_duality_gap_vanishes(n: int, d: int) -> None:
    x, y = problem(n, d, seed=d)
    c = torch.stack([weights(y, cost) for cost in COSTS], dim=1)
    beta = fit(x, y[:, None].expand_as(c), c)
    for j in range(len(COSTS)):
        upper = objective(x.T @ beta[:, j], x, y, c[:, j])
        lower = dual_objective(beta[:, j], x, y, c[:, j])
        # Between the two lies the minimum, whatever the solver.
        assert abs(upper - lower) <= 1e-11 * upper


def test_rows_of_weight_zero_are_not_in_the_problem() -> None:
    x, y = problem(50, 20, seed=2)
    c = weights(y, 1.0)
    c[30:] = 0
    beta = fit(x, y[:, None], c[:, None])
    assert (beta[30:] == 0).all()
    torch.testing.assert_close(beta[:30], fit(x[:30], y[:30, None], c[:30, None]), rtol=1e-6, atol=1e-9)


def test_groups_are_solved_as_if_alone() -> None:
    x, y = problem(90, 60, seed=5)
    rows = torch.randperm(90, generator=torch.Generator().manual_seed(0)).view(3, 30)
    c = torch.stack([weights(y, cost) for cost in COSTS])
    inner = gram(x)
    parts = (y[rows].unsqueeze(1).expand(3, len(COSTS), 30), c[:, rows].transpose(0, 1).contiguous())
    together = svm.fit(inner.at(rows), *parts)
    for group in range(3):
        own = x[rows[group]]
        alone = svm.fit(gram(own), parts[0][group], parts[1][group])
        torch.testing.assert_close(together.beta[group], alone.beta, rtol=1e-5, atol=1e-9)
        torch.testing.assert_close(together.scores[group], together.beta[group] @ own @ own.T)


def test_any_start_leads_to_the_same_minimum() -> None:
    x, y = problem(70, 90, seed=10)
    c, inner = weights(y, 1.0)[None], gram(x)
    known = svm.fit(inner, y[None], c)
    beta = torch.randn(1, 70, generator=torch.Generator().manual_seed(0)).double()
    found = svm.fit(inner, y[None], c, Solution(beta, beta @ inner.exact))
    torch.testing.assert_close(found.scores, known.scores, rtol=0, atol=1e-7)


def test_the_answer_is_repeated_to_the_bit() -> None:
    x, y = problem(150, 80, seed=11)
    c = torch.stack([weights(y, cost) for cost in COSTS])
    first, second = (svm.fit(gram(x), y.expand_as(c), c) for _ in range(2))
    assert torch.equal(first.beta, second.beta)
    assert torch.equal(first.scores, second.scores)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_scores_of_the_cpu() -> None:
    x, y = problem(400, 600, seed=12)
    c = torch.stack([weights(y, cost) for cost in COSTS])
    there = svm.fit(gram(x.cuda()), y.expand_as(c).cuda(), c.cuda())
    here = svm.fit(gram(x), y.expand_as(c), c)
    torch.testing.assert_close(there.scores.cpu(), here.scores, rtol=0, atol=1e-6)


def test_identical_rows_that_cancel_give_a_zero_score() -> None:
    x = torch.full((3, 5), 0.3).double()
    y = torch.tensor([1.0, -1.0, -1.0]).double()
    c = torch.stack([weights(y, cost) for cost in COSTS], dim=1)
    beta = fit(x, y[:, None].expand_as(c), c)
    assert (x @ (x.T @ beta)).abs().max() < 1e-9


def test_identical_rows_with_a_majority_score_what_the_scalar_problem_says() -> None:
    x, y = torch.ones(4, 1).double(), torch.tensor([1.0, -1.0, -1.0, -1.0]).double()
    # min w^2/2 + 2 (1 - w)^2 + 3 (1 + w)^2: w + 10 w + 2 = 0.
    w = x.T @ fit(x, y[:, None], weights(y, 1.0)[:, None])
    torch.testing.assert_close(w, torch.tensor([[-2 / 11]]).double())


def same_rows(y: Tensor, c: Tensor, squared: float) -> Tensor:
    """[p] the score of rows that are all the same: the minimum of f^2 / 2 |x|^2 + sum c (1 - y f)^2."""
    return 2 * (c * y).sum(-1) / (1 / squared + 2 * c.sum(-1))


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_identical_rows_of_every_labeling_fold_and_cost_are_solved(value: float) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.cat([torch.full((60, 12), value), torch.ones(60, 1)], dim=1).double()
    y = torch.where(torch.rand(8, 60, generator=g) < 0.2, 1.0, -1.0).double()
    kept = torch.arange(60) % 3 > 0
    weight = weights(y, 1.0)
    weight, y = torch.cat([weight, weight * kept]), torch.cat([y, y])
    found = fit_costs(gram(x), y, weight, COSTS).scores
    c = weight[:, None] * torch.tensor(COSTS).double()[:, None]
    expected = same_rows(y[:, None], c, float(x[0] @ x[0]))
    torch.testing.assert_close(found, expected[..., None].expand_as(found), rtol=1e-7, atol=1e-9)


def test_rounding_that_a_thousand_identical_rows_share_leaves_no_problem_unsolved() -> None:
    x = torch.full((1000, 13), 1 / 12**0.5, dtype=torch.float64)
    x[:, 12] = 1
    place = torch.from_numpy(np.random.default_rng(0).permutation(1000)[:300])
    y = (-torch.ones(1000).double()).scatter(0, place, 1.0)
    found = svm.fit(gram(x), y[None], weights(y, 1.0)[None]).scores[0]
    torch.testing.assert_close(found, same_rows(y, weights(y, 1.0), float(x[0] @ x[0])).expand_as(found))


@pytest.mark.parametrize("broken", [False, True])
def test_an_unsolved_problem_is_an_error_not_a_number(broken: bool) -> None:
    x, y = problem(50, 20, seed=3)
    if broken:
        x[0, 0] = torch.nan
    tolerance = 1e-8 if broken else -1.0  # which no answer meets
    with pytest.raises(RuntimeError, match="1 of 1 problems still have"):
        fit(x, y[:, None], weights(y, 100.0)[:, None], tolerance)


def test_a_cost_beyond_float64_is_told_as_such() -> None:
    x, y = problem(50, 3, seed=3)
    with pytest.raises(svm.UnsolvedError, match="lower the largest cost"):
        fit(1e6 * x, y[:, None], weights(y, 1e15)[:, None])
