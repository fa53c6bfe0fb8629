"""Many L2-regularised squared-hinge linear SVMs at once: Newton's method on the inner products of their rows.

The minimum of 0.5 |w|^2 + sum_i c_i max(0, 1 - y_i x_i.w)^2 is w = x^T beta, where beta_i = 2 c_i y_i
max(0, 1 - y_i f_i) and f = K beta, K = x x^T. All problems of all classes, costs and folds share K, a fold is
a c of zero, and one product with K moves every problem on. Directions are found in float32, or by a factor in
float64 where that takes less time; the iterate and its scores are float64, and a score that has gathered
rounding is computed anew before anything rests on it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.solvers.svm_direction import System, any_group, direction, dot
from benchmarks.solvers.svm_gram import Gram

_NEWTON_STEPS = 100
_ROUGH_STEPS = 30  # of them in float32
_STRICT_STEPS = 40  # of them before the rounding of the scores themselves excuses a gradient
_REDUCTION = 0.02  # of a direction's residual; looser costs Newton steps, tighter costs products
_FINEST = 1e-4  # that float32 reaches
_HALVINGS = 40
_ARMIJO = 1e-4
_ROUNDING = 1e-14  # of a gradient in float64, relative to sum_i |beta_i| |x_i|, the terms that cancel in it
_SCORE_ROUNDING = 4e-16  # of a score in float64, relative to the terms that cancel in it
_ROUGH_ROUNDING = 1e-6  # of an element of a product in float32, relative to their root mean square


class UnsolvedError(RuntimeError):
    """Problems that did not reach the tolerance: their costs are too large for their rows."""


class Solution(NamedTuple):
    """beta: [..., p, n] float64 dual coefficients; scores: [..., p, n] float64, K beta."""

    beta: Tensor
    scores: Tensor


def fit(gram: Gram, y: Tensor, c: Tensor, start: Solution | None = None, tolerance: float = 1e-8) -> Solution:
    """The p linear SVMs over the same n rows, solved to a stated tolerance.

    An intercept, where x carries a column of ones, is regularised like every other weight: the primal problem
    of liblinear. It is strongly convex: one solution, nothing random. Rows t score t @ (x.T @ beta).

    gram: of the rows, or of groups of rows. y: [..., p, n], +1 or -1. c: [..., p, n] >= 0, cost x class
    weight, 0 for rows that are not in the problem. Both float64. start: any coefficients with their scores,
    zero unless given. tolerance: bound on |g| / |w|, g the gradient at the last iterate, as far as float64
    can tell. w is then within 2 |g| of the optimum. Raises: UnsolvedError where a problem does not reach the
    tolerance. Memory: about 200 bytes for each of the p n elements, beside the gram.
    """
    problems = _Problems.at(y, c, start)
    found = Solution(torch.zeros_like(problems.c), torch.zeros_like(problems.c))
    live = torch.arange(c.shape[-2], device=c.device)
    for number in range(_NEWTON_STEPS):
        strict = number < _STRICT_STEPS
        point = _point(gram, problems, tolerance, strict)
        unsolved, scores = _checked(gram, problems, point)
        # The dual of scores that are known no better multiplies their rounding by the cost.
        beta, scores = (point.dual, scores) if strict else (problems.beta, problems.scores)
        stays = any_group(unsolved)
        gone = live[~stays]
        # A problem leaves once it is solved in every group.
        found.beta[..., gone, :] = beta[..., ~stays, :]
        found.scores[..., gone, :] = scores[..., ~stays, :]
        if not stays.any():
            return found
        live, problems = live[stays], problems.keep(stays)
        point, unsolved = _Point(*(a[..., stays, :] for a in point)), unsolved[..., stays, :]
        # A solved member of one that stays does not move.
        point = point._replace(r=torch.where(unsolved, point.r, 0.0))
        problems = _moved(gram, problems, point, exact=number >= _ROUGH_STEPS)
    raise UnsolvedError(
        f"SVM: {int(unsolved.sum())} of {c[..., 0].numel()} problems still have |gradient| / |w| above "
        f"{tolerance:g} after {_NEWTON_STEPS} Newton steps; loosen the tolerance or lower the largest cost"
    )


@dataclass
class _Problems:
    """y, c, beta, scores: [..., p, n]. drift: [..., p, 1] what was added to the scores in float32 since they
    were last computed, root mean square.
    """

    y: Tensor
    c: Tensor
    beta: Tensor
    scores: Tensor
    drift: Tensor

    @staticmethod
    def at(y: Tensor, c: Tensor, start: Solution | None) -> _Problems:
        if start is None:
            return _Problems(y, c, torch.zeros_like(c), torch.zeros_like(c), torch.zeros_like(c[..., :1]))
        # The best multiple of the start, for the rows that are inside the margin there.
        beta, f = start
        inside = torch.where(y * f < 1, 2 * c, 0.0)
        size = dot(beta, f) + dot(inside * f, f)
        scale = torch.where(size > 0, dot(inside * y, f) / size, 0.0)
        # The scores carry the rounding of where they come from.
        drift = (scale * f).norm(dim=-1, keepdim=True) / f.shape[-1] ** 0.5
        return _Problems(y, c, scale * beta, scale * f, drift)

    def keep(self, stays: Tensor) -> _Problems:
        return _Problems(*(getattr(self, field.name)[..., stays, :] for field in fields(self)))


class _Point(NamedTuple):
    """slack: 1 - y f; active: whether inside the margin; dual: of the scores; r: dual - beta; size: about
    |g|; noise: of g, from the rounding of the scores; bound: on |g|.
    """

    slack: Tensor
    active: Tensor
    dual: Tensor
    r: Tensor
    size: Tensor
    noise: Tensor
    bound: Tensor


def _point(gram: Gram, problems: _Problems, tolerance: float, strict: bool) -> _Point:
    """Where the problems stand. Scores whose rounding matters are computed anew."""
    point = _measured(gram, problems, tolerance, strict)
    stale = any_group((point.noise > 0.1 * point.size) & (problems.drift > 0))
    if not stale.any():
        return point
    problems.scores[..., stale, :] = problems.beta[..., stale, :] @ gram.exact
    problems.drift[..., stale, :] = 0
    return _measured(gram, problems, tolerance, strict)


def _measured(gram: Gram, problems: _Problems, tolerance: float, strict: bool) -> _Point:
    y, c, beta, f = problems.y, problems.c, problems.beta, problems.scores
    slack = 1 - y * f
    active = (slack > 0) & (c > 0)
    dual = torch.where(active, 2 * c * y * slack, 0.0)
    r = dual - beta
    size = ((r @ gram.factor.double()).square().sum(dim=-1, keepdim=True) + gram.rest * dot(r, r)).sqrt()
    gain = torch.where(active, (2 * c).square() * gram.squared, 0.0).sum(dim=-1, keepdim=True).sqrt()
    length = dot(beta, f).clamp(min=0).sqrt()
    lengths = gram.squared.sqrt().expand_as(dual)
    floor = _ROUNDING * dot(dual.abs(), lengths)
    if not strict:
        # Rows that are the same share their rounding, so it adds up rather than cancels.
        together = dot(torch.where(active, 2 * c, 0.0), lengths)
        floor = floor + _SCORE_ROUNDING * together * dot(beta.abs(), lengths)
    noise = _ROUGH_ROUNDING * problems.drift * gain
    return _Point(slack, active, dual, r, size, noise, tolerance * length + floor)


def _checked(gram: Gram, problems: _Problems, point: _Point) -> tuple[Tensor, Tensor]:
    """([..., p, 1] bool unsolved, [..., p, n] scores of the dual). Only what seems near is measured."""
    near = any_group(~(point.size + point.noise > 10 * point.bound))
    unsolved, final = torch.ones_like(point.size, dtype=torch.bool), torch.empty_like(point.r)
    if near.any():
        r = point.r[..., near, :]
        scale = r.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        change = scale * gram.times((r / scale).float())
        # The second term is the rounding of the product.
        size = (dot(r, change).clamp(min=0) + _ROUGH_ROUNDING * scale.square()).sqrt()
        # Negated, so that NaN counts as unsolved.
        unsolved[..., near, :] = ~(size + point.noise[..., near, :] <= point.bound[..., near, :])
        final[..., near, :] = problems.scores[..., near, :] + change
    return unsolved, final


def _moved(gram: Gram, problems: _Problems, point: _Point, exact: bool) -> _Problems:
    c, beta, f = problems.c, problems.beta, problems.scores
    system = System(point.r, point.active, torch.where(point.active, 1 / (2 * c), 1.0))
    reduction = (0.3 * point.bound / point.size).clamp(_FINEST, _REDUCTION)
    step, change, rough = direction(gram, system, reduction, exact)
    t = step_length(Line(beta, step, change, problems.y, c, point.slack, point.r))
    if exact:
        # Where no part of it lowers the objective, the scores are those of the optimum up to their rounding:
        # the whole step gives them the coefficients that they ask for.
        t = torch.where(t <= 0.5**_HALVINGS, 1.0, t)
    return _Problems(problems.y, c, beta + t * step, f + t * change, problems.drift + t * rough)


class Line(NamedTuple):
    """beta + t step, all [..., p, n]. change: K step; slack: 1 - y f at beta; r: dual - beta there."""

    beta: Tensor
    step: Tensor
    change: Tensor
    y: Tensor
    c: Tensor
    slack: Tensor
    r: Tensor


def step_length(line: Line) -> Tensor:
    """[..., p, 1] the largest of 1, 1/2, 1/4, ... with a sufficient decrease of the objective (Armijo's
    rule).
    """
    beta, step, change, y, c, before, r = line
    slope, across, within = -dot(r, change), dot(beta, change), dot(step, change)
    slack, falls = before.clamp(min=0), y * change
    t = torch.ones_like(slope)
    for _ in range(_HALVINGS):
        moved = (before - t * falls).clamp(min=0)
        # The gain is far below the rounding of the objective near the optimum, and a change below that of the
        # slack where the cost is small: hence squares subtracted as a product, with the exact difference
        # where it is known.
        rise = torch.where((moved > 0) & (slack > 0), -t * falls, moved - slack)
        gain = t * across + t * t / 2 * within + dot(c * rise, moved + slack)
        short = gain > _ARMIJO * t * slope
        if not short.any():
            break
        t = torch.where(short, t / 2, t)
    return t
