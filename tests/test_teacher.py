"""A teacher is a literal moving average, runs in its network, and is one on every process."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pretrain.base import dist
from pretrain.nets.batch_norm import share_statistics
from pretrain.nets.heads import Network
from pretrain.nets.teacher import Teacher, rising
from tests import gloo


def network() -> Network:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    made = Network(backbone, nn.Linear(16, 5), nn.Identity())
    return made.to(memory_format=torch.channels_last)


def images(n: int = 8) -> Tensor:
    return torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def moved(net: nn.Module) -> None:
    """Every weight somewhere else."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.ones_like(parameter))


def test_it_follows_as_a_moving_average() -> None:
    net = network()
    teacher = Teacher(net)
    expected = {name: p.detach().double() for name, p in net.named_parameters()}
    for momentum in (0.9, 0.5, 1.0):
        moved(net)
        teacher.follow(net, momentum)
        for name, parameter in net.named_parameters():
            expected[name] = momentum * expected[name] + (1 - momentum) * parameter.detach().double()
    for name, value in expected.items():
        torch.testing.assert_close(teacher.tensors()[name].double(), value, rtol=1e-6, atol=1e-6)
    teacher.follow(net, 0.0)
    assert all(torch.equal(teacher.tensors()[name], p) for name, p in net.named_parameters())


def test_by_hand_and_the_rise_of_its_momentum() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 2.0)
    teacher = Teacher(net)
    nn.init.constant_(net.weight, 12.0)
    teacher.follow(net, 0.9)
    assert teacher.tensors()["weight"].item() == pytest.approx(3.0)
    assert [rising(0.9, done) for done in (0, 0.5, 1)] == pytest.approx([0.9, 0.95, 1.0])
    assert rising(0.996, 1 / 3) == pytest.approx(1 - 0.004 * (math.cos(math.pi / 3) + 1) / 2)


def test_it_runs_with_its_own_weights_and_statistics_and_leaves_the_networks_alone() -> None:
    net = network()
    teacher, apart = Teacher(net), copy.deepcopy(net)
    moved(net)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found, expected = teacher.forward(net, [images()])[0], apart([images()])[0]
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    own = teacher.tensors()
    assert own.keys() == apart.state_dict().keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in apart.state_dict().items())
    assert int(own["backbone.1.num_batches_tracked"]) == 1


def test_it_is_buffers_alone() -> None:
    teacher = Teacher(network())
    assert not list(teacher.parameters())
    assert {name.replace("/", ".") for name, _ in teacher.named_buffers()} == set(network().state_dict())


def _statistics(images_each: int) -> dict[str, Tensor]:
    """Of a teacher on its part of 8 images, whose batch norms share over `images_each` of them."""
    net = network()
    teacher = Teacher(net)
    share_statistics(net, images_each, 8, "cpu")
    each = 8 // dist.world_size()
    teacher.forward(net, [images()[dist.rank() * each :][:each]])
    teacher.follow(net, 0.9)
    return teacher.tensors()


@pytest.mark.parametrize("shared", [0, 4, 2])
def test_two_processes_hold_the_statistics_of_one(shared: int, tmp_path: Path) -> None:
    """Of the whole batch, of one process's part, and of a part of that: the first, everywhere."""
    alone = _statistics(shared)
    first, second = gloo.run(_statistics, 2, tmp_path, shared)
    for name, tensor in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], tensor)


def test_without_batch_norms_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even an empty tensor: it would be one of the CPU, which NCCL refuses."""
    net, sent = nn.Linear(2, 2), list[Tensor]()
    monkeypatch.setattr(dist, "world_size", lambda: 2)
    monkeypatch.setattr(dist, "broadcast_", lambda tensor: sent.append(tensor) or tensor)
    Teacher(net).follow(net, 0.9)
    assert sent == []
