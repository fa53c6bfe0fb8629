"""Problems for the batched SVM solver, and the literal objective and its dual."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.solvers import svm
from benchmarks.solvers.svm_gram import gram

COSTS = (100.0, 10.0, 1.0, 0.0625, 0.5**12, 0.5**19)


def problem(n: int, d: int, seed: int, shift: float = 0.5) -> tuple[Tensor, Tensor]:
    """Rows of non-negative unit-length features with a constant column, and labels with about 20 %
    positives.
    """
    g = torch.Generator().manual_seed(seed)
    y = torch.where(torch.rand(n, generator=g) < 0.2, 1.0, -1.0).double()
    y[0], y[1] = 1, -1
    centre = torch.randn(2, d, generator=g).double()
    x = (shift * centre[(y > 0).long()] + torch.randn(n, d, generator=g).double()).relu()
    return torch.cat([x / (x.norm(dim=1, keepdim=True) + 1e-5), torch.ones(n, 1).double()], dim=1), y


def fit(x: Tensor, y: Tensor, c: Tensor, tolerance: float = 1e-8) -> Tensor:
    """[n, p] dual coefficients; one column per problem."""
    return svm.fit(gram(x), y.T.contiguous(), c.T.contiguous(), tolerance=tolerance).beta.T


def weights(y: Tensor, cost: float) -> Tensor:
    return cost * torch.where(y > 0, 2.0, 1.0).double()


def objective(w: Tensor, x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    return w.square().sum() / 2 + (c * (1 - y * (x @ w)).clamp(min=0).square()).sum()


def dual_objective(beta: Tensor, x: Tensor, y: Tensor, c: Tensor) -> Tensor:
    alpha = (beta * y)[c > 0]
    assert (alpha >= 0).all()
    return alpha.sum() - (x.T @ beta).square().sum() / 2 - (alpha.square() / (4 * c[c > 0])).sum()
