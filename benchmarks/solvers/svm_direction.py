"""Newton directions of many SVMs at once.

All solve the same system. With S the rows inside the margin and E = diag(1 / 2c), the coefficients of the
minimum satisfy (K_SS + E) beta_S = y_S and vanish outside S. So the step from beta, whose residual is
r = dual(beta) - beta, is r outside S, and inside S it solves (K_SS + E) step_S = E r_S - K_SN r_N.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.solvers.svm_gram import Gram, pair_index

_CG_STEPS = 200
_THIN = 16  # problems; a product for fewer takes as long, for K has to be read
_PRODUCTS = (
    30.0  # operations per element of K and problem that a direction by conjugate gradients takes, about
)
_SLOWER = 5.0  # an operation of a factor in float64 than one of a wide product in float32


class System(NamedTuple):
    """r: [..., p, n] residual; active: [..., p, n] bool, S; ridge: [..., p, n] diagonal of E, 1 outside S."""

    r: Tensor
    active: Tensor
    ridge: Tensor


class Direction(NamedTuple):
    """step: [..., p, n]; change: K step; rough: [..., p, 1] the part of float32 in it, root mean square."""

    step: Tensor
    change: Tensor
    rough: Tensor


def direction(gram: Gram, system: System, reduction: Tensor, exact: bool) -> Direction:
    """By a factor where few rows are inside the margin, or if `exact`; else by conjugate gradients."""
    few = _few(system.active) | exact
    found = Direction(torch.empty_like(system.r), torch.empty_like(system.r), torch.zeros_like(reduction))
    if few.any():
        part = System(*(a[..., few, :] for a in system))
        found.step[..., few, :], found.change[..., few, :] = exact_direction(gram, part)
    if not few.all():
        part = System(*(a[..., ~few, :] for a in system))
        step, change = rough_direction(gram, part, reduction[..., ~few, :])
        found.step[..., ~few, :], found.change[..., ~few, :] = step, change
        found.rough[..., ~few, :] = change.norm(dim=-1, keepdim=True) / change.shape[-1] ** 0.5
    return found


def _few(active: Tensor) -> Tensor:
    """[p] whether factors, s^3 / 3 operations each, take less time than the thin products that they save."""
    p, n = active.shape[-2:]
    factor = _SLOWER / 3 * active.sum(dim=-1).double().pow(3).reshape(-1, p).mean(dim=0)
    thin = p <= _THIN and active.device.type == "cpu"  # a GPU has no use for small problems one by one
    return factor < (_PRODUCTS * n * n * _THIN / p if thin else 0.0)


def rough_direction(gram: Gram, system: System, reduction: Tensor) -> tuple[Tensor, Tensor]:
    """(step, K step), by conjugate gradients in float32 over all problems together.

    reduction: [..., p, 1] of the preconditioned residual. Each step is one product with K for every problem
    that has not reached it.
    """
    # At a size that cannot underflow in single precision.
    size = system.r.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    r, active, ridge = (system.r / size).float(), system.active, system.ridge.float()
    inverse = _Inverse.of(gram, ridge, active)
    outside = torch.where(active, 0.0, r)
    known = ridge * r - (outside @ gram.factor) @ gram.factor.mT
    guess = inverse.times(known)
    target = reduction.float().square() * dot(known, guess)
    step = outside + guess
    product = gram.times(step)
    residual = torch.addcmul(-product, ridge, r - step)
    search = inverse.times(residual)
    cg = _Search(step, product, residual, search, dot(residual, search), target, ridge)
    step, product = _conjugate_gradients(gram, inverse, cg)
    return size * step, size * product


def exact_direction(gram: Gram, system: System) -> tuple[Tensor, Tensor]:
    """(step, K step), by a Cholesky factor in float64 for each problem."""
    step = torch.where(system.active, 0.0, system.r)
    for at in system.active.any(dim=-1).nonzero().tolist():
        problem, k = tuple(at), gram.exact[tuple(at[:-1])]
        inside, gone = (flag.nonzero().squeeze(-1) for flag in (system.active[problem], step[problem]))
        ridge, r, above = system.ridge[problem][inside], system.r[problem], k.index_select(0, inside)
        known = ridge * r[inside] - above.index_select(1, gone) @ r[gone]
        matrix = above.gather(1, inside.expand(len(inside), -1))
        matrix.diagonal().add_(ridge)
        root, failed = torch.linalg.cholesky_ex(matrix)
        root = torch.where(failed == 0, root, torch.nan)  # a cost beyond float64: the problem stays unsolved
        step[problem][inside] = torch.cholesky_solve(known[:, None], root)[:, 0]
    return step, step @ gram.exact


class _Search(NamedTuple):
    """Conjugate gradients under way, all [..., p, n] or [..., p, 1]; energy: residual . inverse residual.

    The inverse is 0 outside S, and so is the search: what the residual holds there reaches nothing.
    """

    step: Tensor
    product: Tensor
    residual: Tensor
    search: Tensor
    energy: Tensor
    target: Tensor
    ridge: Tensor


class _Inverse(NamedTuple):
    """Of factor factor^T + diag(ridge + rest) on the active rows of every problem, by Woodbury's identity.

    scale: [..., p, n], 0 outside; inner: [..., p, k, k], the inverse of I + factor^T diag(scale) factor.
    """

    factor: Tensor
    scale: Tensor
    inner: Tensor

    @staticmethod
    def of(gram: Gram, ridge: Tensor, active: Tensor) -> _Inverse:
        scale = torch.where(active, 1 / (ridge + gram.rest), 0.0)
        i, j = pair_index(gram.factor)
        rank = gram.factor.shape[-1]
        inner = scale.new_zeros(*scale.shape[:-1], rank, rank)
        inner[..., i, j] = scale @ gram.pairs
        inner.diagonal(dim1=-2, dim2=-1).add_(1)
        root, failed = torch.linalg.cholesky_ex(inner)
        # Any positive definite preconditioner will do: where rounding spoilt this one, the diagonal alone.
        fine = (failed == 0)[..., None, None]
        root = torch.where(fine, root, torch.eye(rank, device=root.device))
        return _Inverse(gram.factor, scale, torch.where(fine, torch.cholesky_inverse(root), 0.0))

    def times(self, residual: Tensor) -> Tensor:
        scaled = self.scale * residual
        thin = self.inner @ (scaled @ self.factor).unsqueeze(-1)
        return scaled.addcmul_(self.scale, thin.squeeze(-1) @ self.factor.mT, value=-1)

    def keep(self, stays: Tensor) -> _Inverse:
        return self._replace(scale=self.scale[..., stays, :], inner=self.inner[..., stays, :, :])


def _conjugate_gradients(gram: Gram, inverse: _Inverse, cg: _Search) -> tuple[Tensor, Tensor]:
    step, product = torch.empty_like(cg.step), torch.empty_like(cg.step)
    live = torch.arange(step.shape[-2], device=step.device)
    for _ in range(_CG_STEPS):
        stays = any_group(cg.energy > cg.target)
        if not stays.all():
            gone = live[~stays]
            step[..., gone, :], product[..., gone, :] = cg.step[..., ~stays, :], cg.product[..., ~stays, :]
            live, inverse = live[stays], inverse.keep(stays)
            cg = _Search(*(a[..., stays, :] for a in cg))
        if not len(live):
            return step, product
        cg = _advanced(gram, inverse, cg)
    # Unfinished, but a direction of descent all the same.
    step[..., live, :], product[..., live, :] = cg.step, cg.product
    return step, product


def _advanced(gram: Gram, inverse: _Inverse, cg: _Search) -> _Search:
    """One step; changes the tensors of cg."""
    step, product, residual, search, energy, target, ridge = cg
    moved = gram.times(search)
    within = torch.addcmul(moved, ridge, search)
    curvature = dot(search, within)
    # Rounding can turn the curvature of a nearly singular system: such a problem stops where it is.
    bent = curvature > 0
    going = (energy > target) & bent
    rate = torch.where(going, energy / curvature, 0.0)
    residual.addcmul_(rate, within, value=-1)
    step.addcmul_(rate, search)
    product.addcmul_(rate, moved)
    scaled = inverse.times(residual)
    left = torch.where(going, dot(residual, scaled), torch.where(bent, energy, 0.0))
    search = scaled.addcmul_(torch.where(going, left / energy, 0.0), search)
    return cg._replace(search=search, energy=left)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of every problem: [..., p, n] twice -> [..., p, 1]."""
    product: Tensor = torch.linalg.vecdot(a, b)
    return product.unsqueeze(-1)


def any_group(flag: Tensor) -> Tensor:
    """[p] whether the flag [..., p, 1] holds in any group."""
    return flag.reshape(-1, flag.shape[-2]).any(dim=0)
