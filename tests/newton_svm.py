"""An oracle: squared-hinge linear SVMs by a batched truncated Newton method in the primal, in float64.

Inside, one row per problem ([..., p, n] and [..., p, r]): thin matrix products are twice as fast that way
round.
"""

from __future__ import annotations

import torch
from torch import Tensor

_NEWTON_STEPS = 100
_CG_STEPS = 500
_CG_REDUCTION = 0.02  # of the preconditioned residual; looser costs Newton steps, tighter costs CG steps
_HALVINGS = 40
_ARMIJO = 1e-4
_SMALLEST = torch.finfo(torch.float64).tiny
_ROUNDING = 1e-14  # relative to sum_i |beta_i| |z_i|, the size of the terms that cancel in a gradient


def rotate(x: Tensor) -> Tensor:
    """The rows of x in an orthonormal basis that contains them: [..., n, r] float64 with r = min(n, d).

    z z^T = x x^T, and z^T z is diagonal (principal axes, without centring). An L2-regularised linear model is
    the same in either coordinates; in these it is never wider than n, and the diagonal preconditioner of
    `fit` is close to exact. x: [..., n, d] float64. Costs the eigenvectors of one r x r matrix.
    """
    if x.shape[-2] > x.shape[-1]:
        axes: Tensor = torch.linalg.eigh(x.mT @ x).eigenvectors
        return x @ axes
    squared, sides = torch.linalg.eigh(x @ x.mT)
    z: Tensor = sides * squared.clamp(min=0).sqrt().unsqueeze(-2)
    return z


def fit(z: Tensor, y: Tensor, c: Tensor, tolerance: float = 1e-8) -> Tensor:
    """Dual coefficients beta [..., n, p] of p linear SVMs over the same rows, solved to a stated tolerance.

    Column j minimises 0.5 |w|^2 + sum_i c_ij max(0, 1 - y_ij z_i.w)^2: the primal problem of liblinear, the
    intercept (where z carries a column of ones) regularised like every other weight. It is strongly convex:
    one solution, nothing random. w = z^T beta, and beta does not depend on the coordinates of z: rows t given
    in the coordinates of the unrotated training rows x score t @ (x.T @ beta).

    z: [..., n, r]; y: [..., n, p], +1 or -1; c: [..., n, p] >= 0, cost x class weight, 0 for rows that are
    not in the problem. All float64. Leading dimensions are independent groups of problems. tolerance: bound
    on |g| / |w|, g the gradient at the last iterate. z^T beta is within 2 |g| of the optimum, and the dual
    objective of beta within |g|^2 / 2 of it. Raises: RuntimeError where a problem does not reach the
    tolerance.
    """
    y, c = y.mT.contiguous(), c.mT.contiguous()
    beta = torch.zeros_like(y)
    live = torch.arange(y.shape[-2], device=y.device)
    w = beta @ z
    length, rough = z.norm(dim=-1).unsqueeze(-2), z.float()
    for _ in range(_NEWTON_STEPS):
        margin = y * (w @ z.mT)
        dual = 2 * c * y * (1 - margin).clamp(min=0)
        gradient = w - dual @ z
        floor = _ROUNDING * _dot(dual.abs(), length)
        # Negated, so that NaN counts as unsolved.
        unsolved = ~(gradient.norm(dim=-1, keepdim=True) <= tolerance * w.norm(dim=-1, keepdim=True) + floor)
        beta[..., live, :] = dual
        # A problem leaves once it is solved in every group; a solved member of one that stays does not move.
        stays = _any_group(unsolved)
        if not stays.any():
            return beta.mT
        gradient = torch.where(unsolved, gradient, 0.0)
        live = live[stays]
        w, y, c, margin, gradient = (a[..., stays, :] for a in (w, y, c, margin, gradient))
        # A direction may be rough, so it is found in single precision, at a size that cannot underflow there.
        size = gradient.norm(dim=-1, keepdim=True).clamp(min=_SMALLEST)
        step = size * _newton_direction(rough, (2 * c * (margin < 1)).float(), (gradient / size).float())
        w = w + _step_length(w, step, margin, y * (step @ z.mT), c, gradient) * step
    raise RuntimeError(
        f"SVM: {int(unsolved.sum())} of {beta[..., 0].numel()} problems still have |gradient| / |w| above "
        f"{tolerance:g} after {_NEWTON_STEPS} Newton steps; loosen the tolerance or lower the largest cost"
    )


def _newton_direction(z: Tensor, curvature: Tensor, gradient: Tensor) -> Tensor:
    """About -(I + z^T diag(curvature) z)^-1 gradient for every problem, by preconditioned conjugate
    gradients.

    z: [..., n, r]; curvature: [..., p, n] >= 0; gradient and result: [..., p, r].
    """
    result, live = torch.zeros_like(gradient), torch.arange(gradient.shape[-2], device=z.device)
    diagonal = 1 + curvature @ z.square()
    x, residual, search = torch.zeros_like(gradient), -gradient, -gradient / diagonal
    energy = _dot(residual, search)
    target = _CG_REDUCTION**2 * energy
    for _ in range(_CG_STEPS):
        unsolved = energy > target
        stays = _any_group(unsolved)
        if not stays.all():
            result[..., live, :] = x
            live = live[stays]
            x, residual, search, diagonal, curvature, energy, target, unsolved = (
                a[..., stays, :] for a in (x, residual, search, diagonal, curvature, energy, target, unsolved)
            )
        if not len(live):
            return result
        product = search + (curvature * (search @ z.mT)) @ z
        rate = torch.where(unsolved, energy / _dot(search, product), 0.0)
        x = x + rate * search
        residual = residual - rate * product
        scaled = residual / diagonal
        before, energy = energy, _dot(residual, scaled)
        search = scaled + torch.where(unsolved, energy / before, 0.0) * search
    result[..., live, :] = x  # unfinished, but a descent direction all the same
    return result


def _step_length(
    w: Tensor, step: Tensor, margin: Tensor, change: Tensor, c: Tensor, gradient: Tensor
) -> Tensor:
    """[..., p, 1] the largest of 1, 1/2, 1/4, ... with a sufficient decrease of the objective (Armijo's
    rule).

    margin: [..., p, n] y z.w before the step; change: what the whole step adds to it.
    """
    slope, across, within = _dot(gradient, step), _dot(w, step), _dot(step, step)
    slack = (1 - margin).clamp(min=0)
    t = torch.ones_like(slope)
    for _ in range(_HALVINGS):
        moved = (1 - margin - t * change).clamp(min=0)
        # The gain is far below the rounding of the objective near the optimum, and a change below that of the
        # slack where the cost is small: hence squares subtracted as a product, with the exact difference
        # where it is known.
        rise = torch.where((moved > 0) & (slack > 0), -t * change, moved - slack)
        gain = t * across + t * t / 2 * within + _dot(c * rise, moved + slack)
        short = gain > _ARMIJO * t * slope
        if not short.any():
            break
        t = torch.where(short, t / 2, t)
    return t


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=-1, keepdim=True)


def _any_group(flag: Tensor) -> Tensor:
    """[p] whether the flag [..., p, 1] holds in any group."""
    return flag.reshape(-1, flag.shape[-2]).any(dim=0)
