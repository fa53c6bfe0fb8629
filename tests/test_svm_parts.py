"""The parts of the batched SVM solver: inner products, directions, lengths of steps, stages of the costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.solvers import svm
from benchmarks.solvers.svm_costs import fit_costs
from benchmarks.solvers.svm_direction import System, direction, exact_direction, rough_direction
from benchmarks.solvers.svm_gram import gram
from tests.svm_problems import COSTS, dual_objective, fit, objective, problem, weights


@pytest.mark.parametrize(("n", "d"), [(7, 30), (30, 7), (500, 200)])
def test_the_inner_products_and_their_leading_part(n: int, d: int) -> None:
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(0)).double() / torch.arange(1, d + 1)
    inner = gram(x)
    torch.testing.assert_close(inner.exact, x @ x.T)
    assert torch.equal(inner.rough, inner.exact.float())
    values = torch.linalg.eigvalsh(x @ x.T).flip(0)
    kept = inner.factor.shape[1]
    assert kept == min(64, n)
    left = torch.linalg.matrix_norm(inner.exact - inner.factor.double() @ inner.factor.double().T, ord=2)
    assert left <= 2 * float(values[kept] if kept < n else 0) + 1e-5 * values[0]
    again = gram(x)
    assert torch.equal(again.exact, inner.exact)
    assert torch.equal(again.factor, inner.factor)


@pytest.mark.parametrize("n", [40, 300])
def test_products_with_k_are_those_of_the_plain_matrix_alone_and_in_groups(n: int) -> None:
    g = torch.Generator().manual_seed(0)
    inner = gram(torch.randn(n + 60, 30, generator=g).double())
    rows = torch.stack([torch.randperm(n + 60, generator=g)[:n] for _ in range(3)])
    for p in (1, 3, 70):
        for part in (inner, inner.at(rows)):
            a = torch.randn(*part.rough.shape[:-2], p, part.rough.shape[-1], generator=g)
            torch.testing.assert_close(part.times(a), a @ part.rough, rtol=1e-4, atol=1e-4)


def test_both_directions_solve_the_newton_system() -> None:
    x, _ = problem(80, 200, seed=6)
    g = torch.Generator().manual_seed(1)
    active = torch.rand(5, 80, generator=g) < torch.tensor([0.0, 0.1, 0.4, 0.8, 1.0])[:, None]
    r = torch.randn(5, 80, generator=g).double() * 10.0 ** torch.arange(-20, 30, 10)[:, None]
    ridge = torch.where(active, torch.rand(5, 80, generator=g).double() + 0.01, 1.0)
    inner, system = gram(x), System(r, active, ridge)
    full = active[..., None] * (inner.exact + torch.diag_embed(ridge)) + torch.diag_embed(
        1.0 - active.double()
    )
    expected = torch.linalg.solve(full, torch.where(active, ridge * r, r))
    found = (rough_direction(inner, system, torch.full((5, 1), 1e-5)), exact_direction(inner, system))
    for (step, product), error in zip(found, (1e-4, 1e-12), strict=True):
        size = expected.norm(dim=-1, keepdim=True)
        torch.testing.assert_close(step / size, expected / size, rtol=0, atol=error)
        torch.testing.assert_close(product / size, expected / size @ inner.exact, rtol=0, atol=100 * error)


def test_problems_of_few_rows_are_factored_and_the_others_are_not() -> None:
    x, _ = problem(300, 400, seed=3)
    g = torch.Generator().manual_seed(1)
    inner = gram(x).at(torch.stack([torch.randperm(300, generator=g)[:280] for _ in range(2)]))
    active = torch.rand(2, 4, 280, generator=g) < torch.tensor([0.05, 1.0, 0.3, 0.95])[:, None]
    r = torch.randn(2, 4, 280, generator=g).double()
    system = System(r, active, torch.where(active, 0.02, 1.0).double())
    reduction = torch.full((2, 4, 1), 1e-3).double()
    found = direction(inner, system, reduction, exact=False)
    assert (found.rough > 0).squeeze(-1).tolist() == [[False, True, False, True]] * 2
    step, change = exact_direction(inner, system)
    for few, error in (([0, 2], 1e-12), ([1, 3], 1e-2)):
        torch.testing.assert_close(found.step[:, few], step[:, few], rtol=0, atol=error)
        torch.testing.assert_close(found.change[:, few], change[:, few], rtol=0, atol=100 * error)
    assert not direction(inner, system, reduction, exact=True).rough.any()


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_the_stages_of_the_cost_grid_do_not_change_the_answer(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = problem(120, 300, seed=9)
    weight = torch.stack([weights(y, 1.0), weights(y, 1.0) * (torch.arange(120) % 3 > 0)])
    both, inner = y.expand_as(weight), gram(x)
    known = fit_costs(inner, both, weight, COSTS)
    monkeypatch.setattr("benchmarks.solvers.svm_costs._AT_ONCE", at_once)
    found = fit_costs(inner, both, weight, COSTS)
    for j, cost in enumerate(COSTS):
        alone = svm.fit(inner, both, weight * cost)
        for other in (known, found):
            size = alone.scores.abs().max()
            torch.testing.assert_close(other.scores[:, j] / size, alone.scores / size, rtol=0, atol=1e-7)
            torch.testing.assert_close(other.beta[:, j], alone.beta, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("cost", [1.0, 0.5**12])
def test_a_step_is_halved_until_the_literal_objective_falls_enough(cost: float) -> None:
    x, y = problem(40, 20, seed=4)
    c = weights(y, cost)
    w = torch.randn(21, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    value = objective(w, x, y, c)
    value.backward()
    assert w.grad is not None
    start, gradient = w.detach(), w.grad
    steps = -gradient * 2.0 ** torch.arange(-8, 6, dtype=torch.float64)[:, None]
    # Coefficients with these weights: x has full column rank.
    beta, moves = (torch.linalg.pinv(x.T) @ v for v in (start, steps.T))
    slack, change = 1 - y * (x @ start), steps @ x.T
    r = torch.where(slack > 0, 2 * c * y * slack, 0.0) - beta
    taken = svm.step_length(
        svm.Line(*(a.expand_as(change) for a in (beta, moves.T, change, y, c, slack, r)))
    )[:, 0]
    for step, t in zip(steps, taken.tolist(), strict=True):
        expected = 1.0
        while objective(start + expected * step, x, y, c) - value > 1e-4 * expected * (gradient @ step):
            expected /= 2
        assert t == expected
    assert len(set(taken.tolist())) > 3


def whole_steps_arrive(x: Tensor, y: Tensor, c: Tensor) -> bool:
    """Whether Newton's method without any halving solves a problem within a hundred steps."""
    w = torch.zeros_like(x[0])
    for _ in range(100):
        slack = (1 - y * (x @ w)).clamp(min=0)
        gradient = w - x.T @ (2 * c * y * slack)
        if gradient.norm() <= 1e-8 * w.norm():
            return True
        curvature = torch.eye(len(w)).double() + (x.T * (2 * c * (slack > 0))) @ x
        w = w - torch.linalg.solve(curvature, gradient)
    return False


@pytest.mark.parametrize("seed", [192, 360, 494])
def test_problems_on_which_whole_newton_steps_go_in_circles_are_solved(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, d = rng.integers(3, 12), rng.integers(2, 5)
    x = torch.from_numpy(rng.normal(size=(n, d)) * np.exp(rng.normal(size=(n, 1)) * 1.5))
    y = torch.from_numpy(np.where(rng.random(n) < 0.5, 1.0, -1.0))
    c = torch.full_like(y, 10.0 ** rng.integers(-2, 5))
    assert not whole_steps_arrive(x, y, c)
    beta = fit(x, y[:, None], c[:, None])[:, 0]
    upper, lower = objective(x.T @ beta, x, y, c), dual_objective(beta, x, y, c)
    assert abs(upper - lower) <= 1e-11 * upper
