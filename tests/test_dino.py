"""DINO: loss, centre, temperatures and the frozen layer against literal versions; the teacher is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.base import dist
from pretrain.base.faults import Fault
from pretrain.base.settings import changed, override
from pretrain.data.loader import Batch
from pretrain.data.view import View
from pretrain.methods.dino import method as dino
from pretrain.train.method import At
from tests import gloo
from tests.train import tiny

B, N, K = 16, 48, 32


def built(**changes: Any) -> dino.DINO:
    torch.manual_seed(0)
    return dino.DINO(changed(tiny("dino"), **changes), N, 0)


def batch(views: int = 2) -> Batch:
    g = torch.Generator().manual_seed(1)
    sizes = [16, 16, *[8] * (views - 2)]
    return Batch(torch.arange(B), [torch.randn(B, 3, side, side, generator=g) for side in sizes])


@pytest.mark.parametrize("views", [2, 5])
def test_the_loss_is_the_literal_one(views: int) -> None:
    g = torch.Generator().manual_seed(0)
    s = torch.randn(views, 4, 6, generator=g, dtype=torch.float64)
    q = torch.randn(2, 4, 6, generator=g, dtype=torch.float64).softmax(2)
    each = [
        -sum(float(q[w, i, k]) * float(s[v, i].log_softmax(0)[k]) for k in range(6))
        for w in range(2)
        for v in range(views)
        if v != w
        for i in range(4)
    ]
    assert float(dino.taught_loss(s, q)) == pytest.approx(sum(each) / len(each))


def test_the_loss_of_a_batch_has_a_centred_and_sharpened_teacher() -> None:
    made, given = built(teacher_start=0.05, teacher_end=0.05), batch()
    made.centre.copy_(torch.linspace(-0.1, 0.1, K))
    _, s = made.net(given.views)
    _, t = made.teacher.forward(made.net, given.views)
    found = made.loss(made.net, given, At(0, 0)).value
    s, t = s.view(2, B, K), ((t - made.centre) / 0.05).softmax(1).view(2, B, K)
    pairs = [F.cross_entropy(s[v] / 0.1, t[w]) for v, w in ((0, 1), (1, 0))]
    torch.testing.assert_close(found, (pairs[0] + pairs[1]) / 2, rtol=1e-4, atol=1e-5)


def test_small_views_are_students_only() -> None:
    views = (View(size=16, count=2), View(size=8, count=3))
    made = built(views=views)
    loss = made.loss(made.net, batch(5), At(0, 0))
    assert loss.seen[1].shape == (2 * B, made.recipe.dim)
    assert float(loss.value.detach()) > 0


def test_the_centre_is_a_moving_average_of_the_teachers_outputs_by_hand() -> None:
    made = built(centre_momentum=0.9)
    for mean, expected in ((10.0, 1.0), (0.0, 0.9)):
        made.after_step(At(0, 0), torch.full((K,), mean), torch.zeros(1))
        assert made.centre.tolist() == pytest.approx([expected] * K)


def test_the_teachers_temperature_rises_along_a_line() -> None:
    made = built(teacher_start=0.04, teacher_end=0.07, teacher_warmup=4)
    found = [made.sharpness(epoch) for epoch in range(6)]
    assert found == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07, 0.07])
    constant = built(teacher_start=0.04, teacher_end=0.07, teacher_warmup=0)
    assert constant.sharpness(0) == pytest.approx(0.07)


def test_the_last_layer_has_directions_of_unit_length_and_rests_at_first() -> None:
    made: Any = built(freeze=1)
    z = F.normalize(torch.randn(5, made.recipe.dim))
    cosine = F.cosine_similarity(z[:, None], made.net.head.weight[None], dim=2)
    torch.testing.assert_close(made.net.head(z), cosine)
    for epoch, rests in ((0, True), (1, False)):
        made.loss(made.net, batch(), At(epoch, epoch)).value.backward()
        made.before_step(At(epoch, epoch), None)
        assert (made.net.head.weight.grad is None) == rests
        assert made.net.neck[0].weight.grad is not None


def test_the_teachers_backbone_is_the_result() -> None:
    made = built()
    with torch.no_grad():
        made.net.backbone.get_parameter(next(iter(made.net.backbone.state_dict()))).add_(1.0)
    kept, trained = made.kept.state_dict(), made.backbone.state_dict()
    ours = made.teacher.tensors("backbone.")
    assert kept.keys() == trained.keys()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in kept.items())
    assert any(not torch.equal(tensor, trained[name]) for name, tensor in kept.items())


def _centre() -> Tensor:
    made, each = built(), B // dist.world_size()
    outputs = torch.randn(B, K, generator=torch.Generator().manual_seed(2))
    made.after_step(At(0, 0), outputs[dist.rank() * each :][:each].mean(0), torch.zeros(1))
    return made.centre


def test_two_processes_have_the_centre_of_one(tmp_path: Path) -> None:
    first, second = gloo.run(_centre, 2, tmp_path)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, _centre())


def test_a_head_without_batch_norm_and_a_first_view_alone() -> None:
    kinds = [type(layer).__name__ for layer in built(head_bn=False).net.neck.children()]
    assert kinds == ["Linear", "GELU", "Linear", "GELU", "Linear", "Unit"]
    with pytest.raises(Fault, match=r"the teacher sees two views of one size first, not \[16\] px"):
        override(tiny("dino"), {"views.0.count": 1}, "dino")
