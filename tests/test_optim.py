"""LARC and LARS, clipped or not, equal their formulas tensor by tensor, zeros included; schedules pass
through the published values.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pretrain.base.faults import Fault
from pretrain.base.settings import changed, override
from pretrain.train import optim
from pretrain.train.recipe import Cosine, EpochCosine, HeldCosine, Recipe, Step
from zoo.suites.suite import recipes

LR, MOMENTUM, DECAY = 0.3, 0.9, 1e-2


def literal_step(p: Tensor, g: Tensor, buffer: Tensor | None) -> tuple[Tensor, Tensor]:
    """One tensor, one step: adapted gradient, then SGD with momentum and no decay of its own."""
    p_norm, g_norm = p.norm(), g.norm()
    if p_norm > 0 and g_norm > 0:
        rate = 0.001 * p_norm / (g_norm + p_norm * DECAY + 1e-8)
        g = (g + DECAY * p) * rate
    buffer = g.clone() if buffer is None else MOMENTUM * buffer + g
    return p - LR * buffer, buffer


def recipe(optimizer: str = "larc", **changes: object) -> Recipe:
    smoke = recipes("deepclusterv2")["smoke"][0]
    return changed(smoke, optimizer=optimizer, lr=LR, momentum=MOMENTUM, weight_decay=DECAY, **changes)


def test_larc_equals_its_formula() -> None:
    g = torch.Generator().manual_seed(0)
    starts = [
        torch.randn(5, 3, generator=g),
        torch.zeros(7),
        torch.randn(4, generator=g),
        torch.full((3,), 1e-9),
    ]
    params = [torch.nn.Parameter(t.clone()) for t in (*starts, torch.ones(2))]
    optimizer = optim.build(recipe(), [{"params": params[:2]}, {"params": params[2:]}])
    expected, buffers = [t.clone() for t in starts], [None] * len(starts)
    for step in range(4):
        for i, p in enumerate(params[:-1]):  # the last one never has a gradient
            p.grad = torch.randn(p.shape, generator=g)
            if i == 2 and step == 1:
                p.grad.zero_()  # no decay in this step either, only momentum
            expected[i], buffers[i] = literal_step(expected[i], p.grad, buffers[i])  # type: ignore[call-overload]
        optimizer.step()
        for p, e in zip(params, expected, strict=False):
            torch.testing.assert_close(p.detach(), e, rtol=1e-6, atol=1e-7)
    assert params[-1].tolist() == [1, 1]


def test_larc_lets_a_zero_tensor_take_its_first_step_at_the_full_rate() -> None:
    bias = torch.nn.Parameter(torch.zeros(2))
    bias.grad = torch.tensor([1.0, -2.0])
    optim.build(recipe(), [{"params": [bias]}]).step()
    assert bias.tolist() == pytest.approx([-LR, 2 * LR])


def test_larc_by_hand() -> None:
    """|p| = 5, |g| = 1, decay 0.1: g + 0.1 p = (0.3, 1.4), times 0.001 * 5 / (1 + 0.5)."""
    p = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    p.grad = torch.tensor([0.0, 1.0])
    optim.larc_([p], decay=0.1)
    assert p.grad.tolist() == pytest.approx([0.3 / 300, 1.4 / 300])
    p.grad = torch.tensor([1e-8, 0.0])  # as small as eps: half the rate
    optim.larc_([p], decay=0.0)
    assert p.grad.tolist() == pytest.approx([0.001 * 5 / 2, 0])


def test_the_published_schedule_of_deepclusterv2_and_swav() -> None:
    for name in ("deepclusterv2", "swav"):
        paper = next(r for r in recipes(name)["paper"] if r.batch_size == 4096)
        per_epoch = 1_281_167 // 4096
        last = paper.epochs * per_epoch - 1
        rates = [optim.learning_rate(paper, i, per_epoch) for i in (0, 3119, 3120, last)]
        assert per_epoch == 312
        assert rates == pytest.approx([0.3, 4.8, 4.8, 0.0048], rel=1e-5)


def test_swav_at_batch_256_has_no_warm_up() -> None:
    paper = next(r for r in recipes("swav")["paper"] if r.batch_size == 256)
    rates = [optim.learning_rate(paper, i, 5004) for i in (0, paper.epochs * 5004 - 1)]
    assert rates == pytest.approx([0.6, 0.0006], rel=1e-5)


def test_steps_and_cosines_at_their_corners() -> None:
    step = Step(milestones=(2, 4), gamma=0.1)
    assert [optim.factor(step, i, 10, 6) for i in (0, 19, 20, 39, 40, 59)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    cosine = Cosine(warmup=1, start=0.2, final=0.1)
    assert [optim.factor(cosine, i, 5, 3) for i in (0, 4, 5, 10)] == pytest.approx([0.2, 1, 1, 0.55])


def literal_lars(p: Tensor, g: Tensor, buffer: Tensor) -> tuple[Tensor, Tensor]:
    """One tensor, one step; buffer starts at zero."""
    if p.ndim > 1:
        g = g + DECAY * p
        p_norm, g_norm = p.norm(), g.norm()
        g = g * (0.001 * p_norm / g_norm if p_norm > 0 and g_norm > 0 else 1.0)
    buffer = MOMENTUM * buffer + g
    return p - LR * buffer, buffer


def test_lars_equals_its_formula_and_spares_tensors_of_one_dimension() -> None:
    g = torch.Generator().manual_seed(0)
    starts = [torch.randn(5, 3, generator=g), torch.zeros(4, 2), torch.randn(6, generator=g), torch.zeros(3)]
    params = [torch.nn.Parameter(t.clone()) for t in (*starts, torch.ones(2, 2))]
    optimizer = optim.build(recipe(optimizer="lars"), [{"params": params[:2]}, {"params": params[2:]}])
    expected, buffers = [t.clone() for t in starts], [torch.zeros_like(t) for t in starts]
    for step in range(4):
        for i, p in enumerate(params[:-1]):  # the last one never has a gradient
            p.grad = torch.randn(p.shape, generator=g) * (step != 2)  # once there is decay alone
            expected[i], buffers[i] = literal_lars(expected[i], p.grad, buffers[i])
        optimizer.step()
        for p, e in zip(params, expected, strict=False):
            torch.testing.assert_close(p.detach(), e, rtol=1e-6, atol=1e-7)
    assert params[-1].tolist() == [[1, 1], [1, 1]]


def literal_clipped(p: Tensor, g: Tensor, buffer: Tensor, lr: float) -> tuple[Tensor, Tensor]:
    """One tensor, one step; buffer starts at zero."""
    p_norm, g_norm = float(p.norm()), float(g.norm())
    if p.ndim > 1 and p_norm > 0 and g_norm > 0:
        rate = 0.02 * p_norm / (g_norm + DECAY * p_norm + 1e-8)
        g = (g + DECAY * p) * min(rate / lr, 1.0)
    buffer = MOMENTUM * buffer + g
    return p - lr * buffer, buffer


def test_clipped_lars_equals_its_formula_with_a_rate_of_its_own_in_every_group() -> None:
    g = torch.Generator().manual_seed(0)
    starts = [
        torch.randn(5, 3, generator=g),
        torch.zeros(4, 2),
        torch.randn(6, generator=g),
        torch.ones(9, 9),
    ]
    params = [torch.nn.Parameter(t.clone()) for t in starts]
    rates = [LR, LR, LR, 0.01]  # the last one is clipped: its own rate would be above
    optimizer = optim.build(
        recipe(optimizer="lars-clipped"), [{"params": params[:3]}, {"params": params[3:]}]
    )
    optimizer.param_groups[1]["lr"] = rates[3]
    expected, buffers = [t.clone() for t in starts], [torch.zeros_like(t) for t in starts]
    for step in range(4):
        for i, (p, lr) in enumerate(zip(params, rates, strict=True)):
            p.grad = torch.randn(p.shape, generator=g) * (step != 2)  # without a gradient nothing decays
            expected[i], buffers[i] = literal_clipped(expected[i], p.grad, buffers[i], lr)
        optimizer.step()
        for p, e in zip(params, expected, strict=True):
            torch.testing.assert_close(p.detach(), e, rtol=1e-6, atol=1e-7)


def test_clipped_lars_by_hand() -> None:
    """|p| = 5, |g| = 1, decay 0.1: 0.02 * 5 / 1.5 = 1 / 15, a ninth of lr 0.6; g + 0.1 p = (0.3, 1.4)."""
    for lr, scale in ((0.6, 1 / 9), (1 / 15, 1.0), (0.001, 1.0), (0.0, 1.0)):
        p = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
        p.grad = torch.tensor([[0.0, 1.0]])
        optim.lars_clipped_([p], decay=0.1, lr=lr)
        assert p.grad.flatten().tolist() == pytest.approx([0.3 * scale, 1.4 * scale], rel=1e-6)


def test_the_schedules_of_cifar() -> None:
    for name, published in (("swav", [3e-5, 0.6, 0.6, 0.0]), ("deepclusterv2", [0.0, 0.6, 0.6, 0.0006])):
        (cifar,) = recipes(name)["cifar"]
        steps = cifar.per_epoch(50_000)
        warm = cifar.schedule.warmup * steps
        assert steps == 195
        found = [optim.learning_rate(cifar, i, steps) for i in (0, warm - 1, warm, 1000 * steps - 1)]
        assert found == pytest.approx(published, rel=1e-4, abs=1e-9)


def test_lars_by_hand() -> None:
    """d = g + 0.1 p = (3, 4), |p| = 10, |d| = 5: 0.002 d. A bias is left alone."""
    p, bias = torch.nn.Parameter(torch.tensor([[10.0, 0.0]])), torch.nn.Parameter(torch.tensor([10.0]))
    p.grad, bias.grad = torch.tensor([[2.0, 4.0]]), torch.tensor([2.0])
    optim.lars_([p, bias], decay=0.1)
    assert p.grad[0].tolist() == pytest.approx([0.006, 0.008])
    assert bias.grad.tolist() == [2.0]
    optim.lars_([bias], decay=0.1)  # nothing to adapt
    assert bias.grad.tolist() == [2.0]


def released_coke_rate(epoch: int, iteration: int, num_iter: int, epochs: int) -> float:
    """Of peak 1: an epoch at rate 0, a line up to epoch 11, a cosine."""
    at, warm, most = iteration + epoch * num_iter, 11 * num_iter, epochs * num_iter
    if epoch == 0:
        return 0.0
    if epoch < 11:
        return max(1, at - num_iter) / (warm - num_iter)
    return (1 + math.cos(math.pi * (at - warm) / (most - warm))) / 2


def test_a_held_cosine_is_the_released_schedule_of_coke() -> None:
    schedule, num_iter, epochs = HeldCosine(hold=1, warmup=10), 7, 31
    for at in range(epochs * num_iter):
        expected = released_coke_rate(at // num_iter, at % num_iter, num_iter, epochs)
        assert optim.factor(schedule, at, num_iter, epochs) == pytest.approx(expected)


def test_an_epoch_cosine_is_the_released_schedule_of_invariance_propagation() -> None:
    """Epochs count from 1 to 799 there, of 800."""
    for at in (0, 4, 5, 9, 1000, 3994):
        epoch = at // 5 + 1
        expected = 0.5 * (1 + math.cos(math.pi * epoch / 800))
        assert optim.factor(EpochCosine(), at, 5, 799) == pytest.approx(expected)


def test_what_comes_before_a_cosine_fits_into_the_epochs() -> None:
    smoke = recipes("deepclusterv2")["smoke"][0]
    held = changed(smoke, schedule=HeldCosine(hold=1, warmup=5))
    assert "Learning-rate warm-up" in held.techniques()
    assert "Learning-rate warm-up" not in changed(smoke, schedule=EpochCosine()).techniques()
    assert "Cosine learning rate" in changed(smoke, schedule=EpochCosine()).techniques()
    assert "Cosine learning rate" not in changed(smoke, schedule=Step()).techniques()
    with pytest.raises(Fault, match=r"schedule.warmup: 7 epochs are more than the 6 there are"):
        override(held, {"schedule.hold": 2}, "deepclusterv2")
