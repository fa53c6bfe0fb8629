"""MoCo v2: InfoNCE in doubles, the queue as a ring, and keys that are shuffled between batch-norm groups."""

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
from pretrain.methods.mocov2 import method as moco
from pretrain.nets.batch_norm import share_statistics
from pretrain.train import optim
from pretrain.train.method import At
from tests import gloo
from tests.train import tiny
from zoo.suites.suite import recipes

B, D = 16, 8


def built(**changes: Any) -> moco.MoCo:
    torch.manual_seed(0)
    made = moco.MoCo(changed(tiny("mocov2"), **({"dim": D, "queue": 40, "bn_group": 4} | changes)), 48, 0)
    share_statistics(made.net, made.recipe.bn_group, B, "cpu")
    return made


def units(rows: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, D, generator=torch.Generator().manual_seed(seed)))


def images() -> Tensor:
    return torch.randn(B, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_the_loss_is_the_literal_one() -> None:
    q, k, queue, t = units(5, 0).double(), units(5, 1).double(), units(9, 2).double(), 0.2
    total = 0.0
    for i in range(5):
        above = math.exp(float(q[i] @ k[i]) / t)
        total -= math.log(above / (above + sum(math.exp(float(q[i] @ n) / t) for n in queue)))
    assert float(moco.contrast(q, k, queue, t)) == pytest.approx(total / 5)


def test_the_loss_by_hand() -> None:
    """The key at 1, one negative at 0 and one at -1."""
    q, queue = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert float(moco.contrast(q, q, queue, 1.0)) == pytest.approx(math.log(1 + 1 / math.e + 1 / math.e**2))


def test_the_queue_is_a_ring_of_the_latest_keys() -> None:
    """Batches of 16 in 40 places: the third goes over the end."""
    made = built()
    start, keys = made.queue.clone(), [units(B, step) for step in range(3)]
    for step, batch in enumerate(keys):
        made.after_step(At(0, step), batch)
    expected = torch.cat([keys[2][8:], keys[0][8:], keys[1], keys[2][:8]])
    assert torch.equal(made.queue, expected)
    assert not torch.equal(start, made.queue)
    made.check()


def test_the_teacher_follows_after_every_step() -> None:
    made = built(teacher_momentum=0.75)
    weight = made.net.neck[0].weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight.add_(4.0)
    made.after_step(At(0, 0), units(B, 0))
    torch.testing.assert_close(made.teacher.tensors()["neck.0.weight"], before + 1)


def test_keys_come_back_in_order_and_are_normalised_with_images_from_everywhere() -> None:
    """Keys of a step are the teacher's of the shuffled batch; two images of a group were not neighbours."""
    made = built()
    order = made.shuffled(At(0, 3))
    assert sorted(order.tolist()) == list(range(B))
    assert order.tolist() != made.shuffled(At(0, 4)).tolist()
    found = made.keys(images(), At(0, 3))
    mixed, _ = made.teacher.forward(made.net, [images()[order]])
    for place, image in enumerate(order.tolist()):
        torch.testing.assert_close(found[image], mixed[place])
    plain, _ = made.teacher.forward(made.net, [images()])
    assert not torch.allclose(found, plain, atol=1e-3)


def test_one_group_of_the_whole_batch_is_not_shuffled() -> None:
    made = built(bn_group=0)
    plain, _ = made.teacher.forward(made.net, [images()])
    assert torch.equal(made.keys(images(), At(0, 0)), plain)


def _keys(group: int) -> Tensor:
    made, each = built(bn_group=group), B // dist.world_size()
    return made.keys(images()[dist.rank() * each :][:each], At(0, 3))


@pytest.mark.parametrize("group", [4, 8])
def test_two_processes_have_the_keys_of_one(group: int, tmp_path: Path) -> None:
    alone = _keys(group)
    torch.testing.assert_close(torch.cat(gloo.run(_keys, 2, tmp_path, group)), alone, rtol=1e-4, atol=1e-5)


def test_a_queue_shorter_than_a_batch_is_refused() -> None:
    with pytest.raises(Fault, match="queue: 8 keys are fewer than a batch of 16; lengthen it or lower"):
        override(tiny("mocov2"), {"queue": 8}, "moco")


def test_the_published_rate_moves_once_an_epoch_from_all_of_it_on() -> None:
    recipe = recipes("mocov2")["paper"][0]
    steps = recipe.per_epoch(1_281_167)
    for epoch in (0, 1, 100, 199):
        expected = 0.03 * (1 + math.cos(math.pi * epoch / 200)) / 2
        for step in (epoch * steps, (epoch + 1) * steps - 1):
            assert optim.learning_rate(recipe, step, steps) == pytest.approx(expected)
