"""SwAV: Sinkhorn, the swapped loss and the queue against literal versions; prototypes rest while they are frozen."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain import method
from pretrain.faults import Fault
from pretrain.loader import Batch
from pretrain.methods import swav
from pretrain.split import Split
from tests import gloo
from tests.train import tiny

pytestmark = pytest.mark.usefixtures("one_thread")
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


@pytest.mark.parametrize("epsilon", [0.05, swav.FP32_EPSILON, 0.02, 0.0113, swav.SMALLEST_EPSILON])
def test_sinkhorn_of_two_crops_equals_the_literal_one_of_each(epsilon: float) -> None:
    scores = cosines(2, 24, 7)
    scores[0, 0, 0], scores[1, 3] = 1, -1  # the extremes of a cosine
    found = swav.sinkhorn(scores, epsilon, 3)
    assert found.dtype == torch.float32
    for crop in (0, 1):
        literal = literal_sinkhorn(scores[crop], epsilon, 3).float()
        torch.testing.assert_close(found[crop], literal, rtol=1e-4, atol=1e-6)


def test_sinkhorn_marginals() -> None:
    few, many = (swav.sinkhorn(cosines(1, 30, 5), 0.2, iterations) for iterations in (3, 200))
    torch.testing.assert_close(few.sum(2), torch.ones(1, 30))
    torch.testing.assert_close(many.sum(1), torch.full((1, 5), 6.0), rtol=1e-3, atol=0)


def test_sinkhorn_by_hand() -> None:
    """Rows that all like prototype 0 share both; two rows with one favourite each keep it with odds e^(1/epsilon)."""
    same = swav.sinkhorn(torch.tensor([[[1.0, 0.0]] * 4]), 0.05, 3)
    torch.testing.assert_close(same, torch.full((1, 4, 2), 0.5))
    odds = math.exp(1 / 0.5)
    own = swav.sinkhorn(torch.eye(2)[None], 0.5, 3)
    torch.testing.assert_close(own[0].diagonal(), torch.full((2,), odds / (1 + odds)))


def test_sinkhorn_stays_finite_in_fp32_where_fp16_would_not() -> None:
    assert math.exp(1 / 0.05) > torch.finfo(torch.float16).max
    scores = torch.cat([torch.ones(1, 8192, 20), -torch.ones(1, 4, 20)], 1)
    for epsilon in (swav.FP32_EPSILON, swav.SMALLEST_EPSILON):
        codes = swav.sinkhorn(scores, epsilon, 3)
        torch.testing.assert_close(codes, torch.full_like(codes, 0.05))
    with pytest.raises(Fault, match="too small for its exponentials"):
        swav.SwAV(replace(tiny("swav"), epsilon=0.002), 48, CPU, 0)


def test_the_loss_is_the_mean_over_pairs_of_different_views() -> None:
    s, q = cosines(4, 6, 5), swav.sinkhorn(cosines(2, 6, 5, seed=1), 0.1, 3)
    pairs = [(a, v) for a in range(2) for v in range(4) if v != a]
    terms = [-(q[a] * torch.log_softmax(s[v] / 0.1, 1)).sum(1).mean() for a, v in pairs]
    torch.testing.assert_close(swav.swapped_loss(s, q, 0.1), torch.stack(terms).mean())


def built(**changes: Any) -> swav.SwAV:
    torch.manual_seed(0)
    return swav.SwAV(replace(tiny("swav"), **changes), 48, CPU, 0)


def test_a_loss_of_equal_predictions_is_an_alarm_after_a_quarter_of_the_run() -> None:
    made = built(epochs=4)  # of three steps
    data = method.Data(Split("none", Path(), ("",) * 48, None, ()), made.recipe, 0, CPU, None)
    made._seen = seen(1, rows=48)
    made.labels = (torch.arange(48) % 6).int()
    for loss, step, warns in ((math.log(6), 3, False), (math.log(6), 6, True), (math.log(6) - 0.02, 6, False)):
        made._loss, made._step = torch.tensor(loss), step
        found = made.epoch_diagnostics(data)
        assert ("equal predictions, 1.792" in str(found.get("warning"))) == warns


def seen(step: int, rows: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    z = F.normalize(cosines(2, rows, 64, seed=step), dim=2)
    return torch.arange(rows), z, torch.zeros(rows, dtype=torch.int32)


def test_the_queue_holds_the_newest_features_and_is_used_once_full() -> None:
    """48 images in batches of 16: three steps per epoch, the queue of 32 fills from epoch 1."""
    made, entered = built(), []
    for step in range(1, 12):
        made._seen = seen(step)
        used = made._queued()
        if len(entered) < 2:
            assert used.shape == (2, 0, 64)
        else:
            newest = torch.cat(entered[-2:], 1)
            torch.testing.assert_close(used.sort(1).values, newest.sort(1).values)
        made.after_step(step)
        if step > 3:
            entered.append(made._seen[1])


def test_codes_with_a_queue_equal_the_literal_ones() -> None:
    made = built(queue_from=0)
    for step in (1, 2):
        made._seen = seen(step)
        made.after_step(step)
    scores = cosines(2, 16, 6)
    codes = made.codes(scores)
    for crop in (0, 1):
        rows = torch.cat([made.queue[crop] @ made.head.weight.T, scores[crop]]).detach()
        literal = literal_sinkhorn(rows, made.recipe.epsilon, made.recipe.sinkhorn_iterations)
        torch.testing.assert_close(codes[crop], literal[-16:].float(), rtol=1e-4, atol=1e-6)


def _codes_of_a_part(scores: Tensor) -> Tensor:
    from pretrain import dist

    made = built(queue_from=0)
    share = slice(8 * dist.rank(), 8 * dist.rank() + 8)
    for step in (1, 2):
        made._seen = tuple(t[share] if t.ndim == 1 else t[:, share] for t in seen(step))  # type: ignore[assignment]
        made.after_step(step)
    return made.codes(scores[:, share])


def test_two_processes_give_the_codes_of_one(tmp_path: Path) -> None:
    scores = cosines(2, 16, 6)
    made = built(queue_from=0)
    for step in (1, 2):
        made._seen = seen(step)
        made.after_step(step)
    parts = gloo.run(_codes_of_a_part, 2, tmp_path, scores)
    torch.testing.assert_close(torch.cat(parts, 1), made.codes(scores), rtol=1e-5, atol=1e-7)


def test_prototypes_rest_while_frozen_then_move_on_the_sphere() -> None:
    made = built(freeze=2, lr=1.0)
    optimizer = torch.optim.SGD(made.groups(), 1.0)
    kept = F.normalize(made.head.weight.detach().clone())
    for step in range(1, 5):
        batch = Batch(torch.arange(16), [cosines(16, 3, 16, 16, seed=2 * step + v) for v in (0, 1)])
        loss = made.loss(made.net, batch)
        torch.testing.assert_close(made.head.weight.detach().norm(dim=1), torch.ones(6))
        optimizer.zero_grad()
        loss.backward()
        made.before_step(step, optimizer)
        optimizer.step()
        made.after_step(step)
        assert torch.equal(made.head.weight.detach(), kept) == (step <= 2)


def test_published_recipes() -> None:
    paper = {r.name: r for r in method.recipes("swav")["paper"]}
    assert len(paper) == 9
    for r in paper.values():
        assert (r.weight_decay, r.temperature, r.epsilon, r.prototypes) == (1e-6, 0.1, 0.05, 3000)
        assert (r.optimizer, r.input.std[0]) == ("larc", 0.228)
    small = paper["rn50_in1k_swav_200ep_bs256_2x224_6x96"]
    assert (small.lr, small.queue, small.queue_from, small.freeze, small.epochs) == (0.6, 3840, 15, 5005, 200)
    assert [(v.count, v.size, v.scale) for v in small.views] == [(2, 224, (0.14, 1.0)), (6, 96, (0.05, 0.14))]
