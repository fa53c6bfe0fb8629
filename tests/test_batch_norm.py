"""Batch-norm statistics are over as many images as the recipe says, on any number of processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pretrain.base import dist
from pretrain.base.faults import Fault
from pretrain.nets.batch_norm import BatchNorm1dOf, ranks_sharing, share_statistics
from tests import gloo

BATCH, VIEWS, CHANNELS = 8, 2, 3


class Acting(nn.BatchNorm2d):
    """As timm's BatchNormAct2d: a batch norm that ends with a dropout and an activation."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.drop, self.act = nn.Identity(), nn.PReLU()

    def forward(self, input: Tensor) -> Tensor:
        made: Tensor = self.act(self.drop(super().forward(input)))
        return made


def network(neck: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, CHANNELS, 1),
        nn.BatchNorm2d(CHANNELS),
        Acting(CHANNELS),
        nn.Flatten(),
        nn.Linear(CHANNELS * 4, 5),
        BatchNorm1dOf(5, neck, 0.1, affine=False),
    ).double()


def images() -> Tensor:
    """(VIEWS, BATCH, 2, 2, 2)."""
    return torch.randn(VIEWS, BATCH, 2, 2, 2, generator=torch.Generator().manual_seed(1)).double()


def target() -> Tensor:
    return torch.randn(VIEWS, BATCH, 5, generator=torch.Generator().manual_seed(2)).double()


def _step(group: int) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """This process' outputs (VIEWS, B, 5), gradients and running statistics of one training step."""
    each = BATCH // dist.world_size()
    ours = slice(dist.rank() * each, (dist.rank() + 1) * each)
    net = share_statistics(network(group), group, BATCH, "cpu")
    run = net if dist.world_size() == 1 else DistributedDataParallel(net, broadcast_buffers=False)
    made = run(images()[:, ours].flatten(0, 1)).unflatten(0, (VIEWS, each))
    (made * target()[:, ours]).sum((0, 2)).mean().backward()
    found = [p.grad for p in net.parameters() if p.grad is not None]
    running = [b for name, b in net.named_buffers() if "running" in name]
    return made.detach(), found, running


def literal(group: int) -> Tensor:
    """Each group of images with all its views through a network of its own."""
    parts = [
        network(group)(images()[:, i : i + group].flatten(0, 1)).unflatten(0, (VIEWS, group))
        for i in range(0, BATCH, group)
    ]
    return torch.cat(parts, 1).detach()


@pytest.mark.parametrize("group", [2, 4, 8])
def test_one_process_has_the_statistics_of_several(group: int) -> None:
    torch.testing.assert_close(_step(group)[0], literal(group))


@pytest.mark.parametrize("group", [0, 2, 4])
@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_number_of_processes_changes_nothing(group: int, world: int, tmp_path: Path) -> None:
    alone = _step(group)
    parts = gloo.run(_step, world, tmp_path, group)
    torch.testing.assert_close(torch.cat([part[0] for part in parts], 1), alone[0])
    for part in parts:
        for ours, theirs in zip(part[1], alone[1], strict=True):
            torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(parts[0][2], alone[2], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_evaluation_uses_the_running_statistics() -> None:
    net, plain = share_statistics(network(0), 2, BATCH, "cpu").eval(), network(0).eval()
    torch.testing.assert_close(net(images()[0]), plain(images()[0]))


def test_a_norm_of_its_own_group_keeps_it() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), BatchNorm1dOf(3, 2, 0.1, affine=True))
    kinds = [type(module).__name__ for module in share_statistics(net, 0, 4, "cpu").children()]
    assert kinds == ["BatchNorm1d", "SplitBatchNorm"]


def test_tensors_keep_their_names() -> None:
    assert share_statistics(network(2), 2, BATCH, "cpu").state_dict().keys() == network(2).state_dict().keys()


def test_one_process_and_the_whole_batch_need_no_other_layer() -> None:
    kinds = [type(module).__name__ for module in share_statistics(network(0), 0, BATCH, "cpu").modules()]
    assert {"SplitBatchNorm", "ProcessBatchNorm"}.isdisjoint(kinds)


@pytest.mark.parametrize(
    ("world", "ranks"), [(1, 1), (4, 1), (8, 1), (16, 2), (64, 8)]
)  # 4096, 1024, 512, 256 and 64 images each
def test_batch_norm_sees_groups_of_512_images(world: int, ranks: int) -> None:
    assert ranks_sharing(512, 4096, world) == ranks


@pytest.mark.parametrize(
    ("group", "batch", "world", "said"),
    [
        (320, 2560, 20, "on 20 processes is 128 .* use 1, 2, 4, 8, 16, 32, 40, 64, ... processes"),
        (3, 12, 6, "on 6 processes is 2 .* use 1, 2, 4, 12 processes"),
        (500, 4096, 64, "set it to a divisor of batch_size, or to 0 for the whole batch"),
        (512, 256, 4, "set it to a divisor of batch_size, or to 0 for the whole batch"),
    ],
)
def test_groups_are_exact_or_refused(group: int, batch: int, world: int, said: str) -> None:
    with pytest.raises(Fault, match=said) as raised:
        ranks_sharing(group, batch, world)
    assert raised.value.reason == "bad-config"


def test_the_processes_that_a_refusal_names_work_and_no_others_do() -> None:
    for world in (w for w in range(1, 97) if 96 % w == 0):
        if world in (1, 2, 4, 8, 16, 24, 32, 48, 96):
            each, ranks = 96 // world, ranks_sharing(12, 96, world)
            assert ranks * each == 12 or (ranks == 1 and each % 12 == 0)
        else:
            with pytest.raises(Fault, match=r"use 1, 2, 4, 8, 16, 24, 32, 48, \.\.\. processes"):
                ranks_sharing(12, 96, world)


def test_without_a_group_the_whole_batch_shares() -> None:
    assert ranks_sharing(0, 256, 4) == 4
