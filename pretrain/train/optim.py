"""Optimisers and learning-rate schedules of the recipes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pretrain.train.recipe import EpochCosine, HeldCosine, Recipe, Schedule, Step


def build(recipe: Recipe, groups: list[dict[str, Any]]) -> torch.optim.SGD:
    """SGD with the recipe's momentum and weight decay; with "larc", "lars" and "lars-clipped", gradients are
    adapted before every step.
    """
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    optimizer = torch.optim.SGD(
        groups, recipe.lr, recipe.momentum
    )  # they decay by themselves, some tensors not at all

    def adapt(*_: Any) -> None:
        if recipe.optimizer == "lars-clipped":  # it depends on the rate, which groups may have of their own
            for group in optimizer.param_groups:
                lars_clipped_(group["params"], recipe.weight_decay, group["lr"])
            return
        adapted = larc_ if recipe.optimizer == "larc" else lars_
        adapted([p for group in optimizer.param_groups for p in group["params"]], recipe.weight_decay)

    optimizer.register_step_pre_hook(adapt)
    return optimizer


@torch.no_grad()
def larc_(params: list[Tensor], decay: float, trust: float = 0.001, eps: float = 1e-8) -> None:
    """Adapts the gradients of tensors p that have one, in place: LARC without clipping (apex; You et al.
    2017).

        g <- (g + decay p) trust |p| / (|g| + decay |p| + eps)      where |p| > 0 and |g| > 0

    Otherwise g stays as it is, without decay: a bias that starts at zero takes its first step at the full
    learning rate. One-dimensional tensors are not excepted. Norms stay on the device.
    """
    params = [p for p in params if p.grad is not None]
    grads = [p.grad for p in params if p.grad is not None]
    if not params:
        return
    p_norm, g_norm = (torch.stack(list(torch._foreach_norm(tensors))) for tensors in (params, grads))
    adapted = (p_norm > 0) & (g_norm > 0)
    scale = torch.where(adapted, trust * p_norm / (g_norm + p_norm * decay + eps), 1.0)
    decays = torch.where(adapted, decay, 0.0)
    torch._foreach_add_(grads, torch._foreach_mul(params, list(decays.unbind())))
    torch._foreach_mul_(grads, list(scale.unbind()))


@torch.no_grad()
def lars_(params: list[Tensor], decay: float, trust: float = 0.001) -> None:
    """Adapts the gradients of tensors p of two or more dimensions, in place: LARS (You et al. 2017) as MoCo
    v3 and CoKe have it.

        d = g + decay p        g <- d trust |p| / |d|      where |p| > 0 and |d| > 0, else g <- d

    Biases and batch norms, of one dimension, keep their gradients and do not decay. Norms stay on the device.
    """
    params = [p for p in params if p.grad is not None and p.ndim > 1]
    grads = [p.grad for p in params if p.grad is not None]
    if not params:
        return
    torch._foreach_add_(grads, params, alpha=decay)
    p_norm, d_norm = (torch.stack(list(torch._foreach_norm(tensors))) for tensors in (params, grads))
    scale = torch.where((p_norm > 0) & (d_norm > 0), trust * p_norm / d_norm, 1.0)
    torch._foreach_mul_(grads, list(scale.unbind()))


@torch.no_grad()
def lars_clipped_(
    params: list[Tensor], decay: float, lr: float, trust: float = 0.02, eps: float = 1e-8
) -> None:
    """Adapts the gradients of tensors p of two or more dimensions, in place: LARS as solo-learn has it for
    CIFAR, with the clipping of apex's LARC: what a layer's gradient is multiplied by is never above lr.

        g <- (g + decay p) min(trust |p| / (|g| + decay |p| + eps) / lr, 1)      where |p| > 0 and |g| > 0

    Otherwise g stays as it is, without decay, and so do biases and batch norms, of one dimension. lr: the
    rate of the step to come; at 0 nothing is clipped away.
    """
    params = [p for p in params if p.grad is not None and p.ndim > 1]
    grads = [p.grad for p in params if p.grad is not None]
    if not params:
        return
    p_norm, g_norm = (torch.stack(list(torch._foreach_norm(tensors))) for tensors in (params, grads))
    adapted = (p_norm > 0) & (g_norm > 0)
    rate = trust * p_norm / (g_norm + p_norm * decay + eps)
    scale = torch.where(adapted & (rate < lr), rate / lr, 1.0)
    decays = torch.where(adapted, decay, 0.0)
    torch._foreach_add_(grads, torch._foreach_mul(params, list(decays.unbind())))
    torch._foreach_mul_(grads, list(scale.unbind()))


def learning_rate(recipe: Recipe, iteration: int, per_epoch: int) -> float:
    """Learning rate at an iteration (from 0): a step schedule
    moves per epoch, a cosine per iteration unless it says otherwise.
    """
    return recipe.lr * factor(recipe.schedule, iteration, per_epoch, recipe.epochs)


def factor(schedule: Schedule, iteration: int, per_epoch: int, epochs: int) -> float:
    """Share of the peak learning rate."""
    if isinstance(schedule, Step):
        return schedule.gamma ** sum(iteration // per_epoch >= epoch for epoch in schedule.milestones)
    if isinstance(schedule, EpochCosine):
        return _falling((iteration // per_epoch + schedule.first) / (epochs + schedule.first))
    if isinstance(schedule, HeldCosine):
        return _held(schedule, iteration, per_epoch, epochs)
    warm, total = schedule.warmup * per_epoch, epochs * per_epoch
    if iteration < warm:
        return schedule.start + (1 - schedule.start) * iteration / max(1, warm - 1)
    done = (iteration - warm) / max(1, total - warm)
    return schedule.final + (1 - schedule.final) * _falling(done)


def _held(schedule: HeldCosine, iteration: int, per_epoch: int, epochs: int) -> float:
    """The warm-up begins with the rate of its second iteration, not with 0."""
    held, warm = schedule.hold * per_epoch, (schedule.hold + schedule.warmup) * per_epoch
    if iteration < held:
        return 0.0
    if iteration < warm:
        return max(1, iteration - held) / (warm - held)
    return _falling((iteration - warm) / max(1, epochs * per_epoch - warm))


def _falling(done: float) -> float:
    """Half a cosine, from 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * done))
