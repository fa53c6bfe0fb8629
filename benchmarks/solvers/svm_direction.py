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


class System(NamedTuple):
    """r: [..., p, n] residual; active: [..., p, n] bool, S; ridge: [..., p, n] diagonal of E, 1 outside S."""

    r: Tensor
    active: Tensor
    ridge: Tensor


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
    """(step, K step), by a Cholesky factor in float64 for each problem: for the few that are left."""
    step = torch.where(system.active, 0.0, system.r)
    known = system.ridge * system.r - step @ gram.exact
    for at in system.active.any(dim=-1).nonzero().tolist():
        problem, group = tuple(at), tuple(at[:-1])
        inside = system.active[problem]
        matrix = gram.exact[group][inside][:, inside] + system.ridge[problem][inside].diag()
        root, failed = torch.linalg.cholesky_ex(matrix)
        root = torch.where(failed == 0, root, torch.nan)  # a cost beyond float64: the problem stays unsolved
        step[problem][inside] = torch.cholesky_solve(known[problem][inside, None], root)[:, 0]
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
