"""BYOL: its loss in doubles and by hand, who predicts whom, and a momentum that rises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pretrain.base.settings import changed
from pretrain.data.loader import Batch
from pretrain.methods.byol import method as byol
from pretrain.train.method import At
from tests.train import tiny

B, N = 16, 48


def built(**changes: Any) -> byol.BYOL:
    torch.manual_seed(0)
    return byol.BYOL(changed(tiny("byol"), **changes), N, 0)


def batch() -> Batch:
    g = torch.Generator().manual_seed(1)
    return Batch(torch.arange(B), [torch.randn(B, 3, 16, 16, generator=g) for _ in range(2)])


def test_the_loss_is_the_literal_one() -> None:
    g = torch.Generator().manual_seed(0)
    p, z = (torch.randn(2 * 5, 7, generator=g, dtype=torch.float64) for _ in range(2))
    total = 0.0
    for i in range(5):
        for view, other in ((i, i + 5), (i + 5, i)):
            apart = p[view] / p[view].norm() - z[other] / z[other].norm()
            total += float(apart.square().sum())
    assert float(byol.prediction_loss(p, z)) == pytest.approx(total / 5)


def test_the_loss_by_hand() -> None:
    """Equal directions 0; opposite ones 4 for each of the two views; length is nothing."""
    p, z = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [5.0, 0.0]])
    assert float(byol.prediction_loss(p, z)) == 0
    assert float(byol.prediction_loss(p, -z)) == 8
    assert float(byol.prediction_loss(p, z.flip(0))) == pytest.approx(4)


def test_every_view_passes_alone_and_predicts_the_teachers_other_view() -> None:
    made, given = built(), batch()
    with torch.no_grad():  # a teacher that is not the student
        made.net.neck[0].weight.add_(0.1)
    found = made.loss(made.net, given, At(0, 0)).value
    total = torch.zeros(())
    for v, w in ((0, 1), (1, 0)):
        _, p = made.net([given.views[v]])
        z, _ = made.teacher.forward(made.projecting, [given.views[w]])
        total = total + (2 - 2 * F.cosine_similarity(p, z)).mean()
    torch.testing.assert_close(found, total)


def test_only_the_student_gets_a_gradient_and_the_teacher_has_no_predictor() -> None:
    made = built()
    made.loss(made.net, batch(), At(0, 0)).value.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in made.net.backbone.parameters())
    assert made.net.head[3].weight.grad is not None
    assert not [name for name in made.teacher.tensors() if name.startswith("head")]


def test_the_momentum_rises_with_the_steps() -> None:
    """Nine steps: the first follows by 0.25, the last by 0.25 (1 + cos(8 pi / 9)) / 2 = 0.0075."""
    for step, share in ((0, 0.25), (8, 0.0075384)):
        made = built(teacher_momentum=0.75)
        weight = made.net.neck[0].weight
        before = weight.detach().clone()
        with torch.no_grad():
            weight.add_(1.0)
        made.after_step(At(step // 3, step), torch.zeros(1))
        moved = made.teacher.tensors()["neck.0.weight"] - before
        torch.testing.assert_close(moved, torch.full_like(moved, share), rtol=1e-3, atol=1e-5)
