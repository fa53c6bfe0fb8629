"""SwAV: Sinkhorn, the swapped loss and the queue against literal versions; prototypes rest while they are
frozen.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.base import dist
from pretrain.base.faults import Fault
from pretrain.base.settings import changed, override
from pretrain.cluster.codes import FP32_EPSILON, sinkhorn, swapped_loss
from pretrain.data.loader import Batch
from pretrain.data.split import Split
from pretrain.methods.swav import method as swav
from pretrain.train.method import At, Loss, TrainingData
from pretrain.train.recipe import SMALLEST_EPSILON
from tests import gloo
from tests.train import tiny

CPU = torch.device("cpu")


def literal_sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """The released algorithm on one crop, scores (B, K): prototypes are rows, and every constant is there."""
    Q = torch.exp(scores.double() / epsilon).T
    K, B = Q.shape
    Q = Q / Q.sum()
    for _ in range(iterations):
        for k in range(K):
            Q[k] = Q[k] / Q[k].sum() / K
        for b in range(B):
            Q[:, b] = Q[:, b] / Q[:, b].sum() / B
    return (Q * B).T


def cosines(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("epsilon", [0.05, FP32_EPSILON, 0.02, 0.0113, SMALLEST_EPSILON])
def test_sinkhorn_of_two_crops_equals_the_literal_one_of_each(epsilon: float) -> None:
    scores = cosines(2, 24, 7)
    scores[0, 0, 0], scores[1, 3] = 1, -1  # the extremes of a cosine
    found = sinkhorn(scores, epsilon, 3)
    assert found.dtype == torch.float32
    for crop in (0, 1):
        literal = literal_sinkhorn(scores[crop], epsilon, 3).float()
        torch.testing.assert_close(found[crop], literal, rtol=1e-4, atol=1e-6)


def test_sinkhorn_marginals() -> None:
    few, many = (sinkhorn(cosines(1, 30, 5), 0.2, iterations) for iterations in (3, 200))
    torch.testing.assert_close(few.sum(2), torch.ones(1, 30))
    torch.testing.assert_close(many.sum(1), torch.full((1, 5), 6.0), rtol=1e-3, atol=0)


def test_sinkhorn_by_hand() -> None:
    """Rows that all like prototype 0 share both; two rows with one favourite each keep it with odds
    e^(1/epsilon).
    """
    same = sinkhorn(torch.tensor([[[1.0, 0.0]] * 4]), 0.05, 3)
    torch.testing.assert_close(same, torch.full((1, 4, 2), 0.5))
    odds = math.exp(1 / 0.5)
    own = sinkhorn(torch.eye(2)[None], 0.5, 3)
    torch.testing.assert_close(own[0].diagonal(), torch.full((2,), odds / (1 + odds)))


def test_sinkhorn_stays_finite_in_fp32_where_fp16_would_not() -> None:
    assert math.exp(1 / 0.05) > torch.finfo(torch.float16).max
    scores = torch.cat([torch.ones(1, 8192, 20), -torch.ones(1, 4, 20)], 1)
    for epsilon in (FP32_EPSILON, SMALLEST_EPSILON):
        codes = sinkhorn(scores, epsilon, 3)
        torch.testing.assert_close(codes, torch.full_like(codes, 0.05))


def test_the_loss_is_the_mean_over_pairs_of_different_views() -> None:
    s, q = cosines(4, 6, 5), sinkhorn(cosines(2, 6, 5, seed=1), 0.1, 3)
    pairs = [(a, v) for a in range(2) for v in range(4) if v != a]
    terms = [-(q[a] * torch.log_softmax(s[v] / 0.1, 1)).sum(1).mean() for a, v in pairs]
    torch.testing.assert_close(swapped_loss(s, q, 0.1), torch.stack(terms).mean())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epsilon": 0.002}, r"swav.epsilon: expected at least 0.003, got 0.002"),
        ({"queue": 15}, r"queue: 15 features are fewer than a batch of 16"),
        ({"assign_views": 3}, r"3 of 2 views leave none to predict them from"),
        ({"views.0.count": 1, "assign_views": 1}, r"1 of 1 views leave none to predict them from"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], said: str) -> None:
    """Below the least epsilon its exponentials leave the range of fp64."""
    with pytest.raises(Fault, match=said) as raised:
        override(tiny("swav"), changes, "swav")
    assert raised.value.reason == "bad-config"


def built(**changes: Any) -> swav.SwAV:
    torch.manual_seed(0)
    return swav.SwAV(changed(tiny("swav"), **changes), 48, 0)


def at(step: int) -> At:
    """48 images in batches of 16: three steps per epoch."""
    return At(step // 3, step)


def seen(step: int, rows: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    z = F.normalize(cosines(2, rows, 64, seed=step), dim=2)
    return torch.arange(rows), z, torch.zeros(rows, dtype=torch.int32)


def test_a_loss_of_equal_predictions_is_an_alarm_after_a_quarter_of_the_run() -> None:
    made = built(epochs=4)  # of three steps
    data = TrainingData(Split("none", Path(), ("",) * 48, None, ()), made.recipe, 0, CPU, None)
    made.labels = (torch.arange(48) % 6).int()
    for loss, step, warns in (
        (math.log(6), 2, False),
        (math.log(6), 5, True),
        (math.log(6) - 0.02, 5, False),
    ):
        last = Loss(torch.tensor(loss), seen(1, rows=48))
        found = made.epoch_diagnostics(data, at(step), last)
        assert ("equal predictions, 1.792" in str(found.get("warning"))) == warns


def literal_codes(made: swav.SwAV, queued: Tensor, scores: Tensor) -> Tensor:
    """Codes of scores (2, B, K) with features (2, l, D) of earlier batches beside them."""
    weight, recipe = made.prototypes.weight.detach(), made.recipe
    rows = [torch.cat([z @ weight.T, s]) for z, s in zip(queued, scores, strict=True)]
    codes = [literal_sinkhorn(row, recipe.epsilon, recipe.sinkhorn_iterations).float() for row in rows]
    return torch.stack(codes)[:, -scores.shape[1] :]


def test_the_queue_holds_the_newest_features_and_is_used_once_full() -> None:
    """The queue of 32 fills from epoch 1, a batch at each of three steps."""
    made, entered, scores = built(), [torch.zeros(2, 0, 64)], cosines(2, 16, 6)
    for step in range(11):
        full = len(entered) > 2
        newest = torch.cat(entered[-2:], 1) if full else entered[0]
        if full:
            torch.testing.assert_close(made.queue.sort(1).values, newest.sort(1).values)
        codes = made.codes(scores, at(step))
        torch.testing.assert_close(codes, literal_codes(made, newest, scores), rtol=1e-4, atol=1e-6)
        made.after_step(at(step), *seen(step))
        if step >= 3:
            entered.append(seen(step)[1])


def test_codes_with_a_queue_equal_the_literal_ones() -> None:
    made = built(queue_from=0)
    for step in (0, 1):
        made.after_step(at(step), *seen(step))
    scores = cosines(2, 16, 6)
    expected = literal_codes(made, made.queue, scores)
    torch.testing.assert_close(made.codes(scores, at(2)), expected, rtol=1e-4, atol=1e-6)


def _codes_of_a_part(scores: Tensor) -> Tensor:
    made = built(queue_from=0)
    share = slice(8 * dist.rank(), 8 * dist.rank() + 8)
    for step in (0, 1):
        made.after_step(at(step), *(t[share] if t.ndim == 1 else t[:, share] for t in seen(step)))
    return made.codes(scores[:, share], at(2))


def test_two_processes_give_the_codes_of_one(tmp_path: Path) -> None:
    scores = cosines(2, 16, 6)
    made = built(queue_from=0)
    for step in (0, 1):
        made.after_step(at(step), *seen(step))
    parts = gloo.run(_codes_of_a_part, 2, tmp_path, scores)
    torch.testing.assert_close(torch.cat(parts, 1), made.codes(scores, at(2)), rtol=1e-5, atol=1e-7)


def test_prototypes_rest_while_frozen_then_move_on_the_sphere() -> None:
    made = built(freeze=2, lr=1.0)
    optimizer = torch.optim.SGD(made.groups(), 1.0)
    kept = F.normalize(made.prototypes.weight.detach().clone())
    for step in range(4):
        batch = Batch(torch.arange(16), [cosines(16, 3, 16, 16, seed=2 * step + v) for v in (0, 1)])
        loss = made.loss(made.net, batch, at(step))
        torch.testing.assert_close(made.prototypes.weight.detach().norm(dim=1), torch.ones(6))
        optimizer.zero_grad()
        loss.value.backward()
        made.before_step(at(step), optimizer)
        optimizer.step()
        made.after_step(at(step), *loss.seen)
        assert torch.equal(made.prototypes.weight.detach(), kept) == (step < 2)


def test_an_epoch_of_the_queue_has_the_steps_of_the_loop() -> None:
    """50 images in batches of 16: the queue starts after three steps, or four where the last batch is filled
    up.
    """
    assert built().pushed(At(1, 4)) == 16
    torch.manual_seed(0)
    padded = swav.SwAV(changed(tiny("swav"), tail="pad"), 50, 0)
    assert [padded.pushed(At(1, step)) for step in (3, 4, 5)] == [0, 0, 16]
