"""SimCLR: NT-Xent against sums in doubles, gradients over two processes, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.base import dist
from pretrain.base.faults import Fault
from pretrain.base.settings import override
from pretrain.methods.simclr import method as simclr
from tests import gloo
from tests.train import tiny

B, D, T = 6, 5, 0.3


def features(rows: int = 2 * B) -> Tensor:
    return F.normalize(torch.randn(rows, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


def literal(z: Tensor) -> Tensor:
    """Equation 1 of the paper, of first views and then second ones."""
    n, total = len(z), z.new_zeros(())
    for i in range(n):
        p = (i + n // 2) % n
        below = sum(torch.exp(z[i] @ z[j] / T) for j in range(n) if j != i)
        total = total - torch.log(torch.exp(z[i] @ z[p] / T) / below)
    return total / n


def test_the_loss_and_its_gradient_are_the_literal_ones() -> None:
    ours, theirs = features().requires_grad_(), features().requires_grad_()
    found, expected = simclr.nt_xent(ours, simclr.every(ours), 0, T), literal(theirs)
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_loss_by_hand() -> None:
    """Two images on two axes: each view has a partner at 1 and two others at 0."""
    z = torch.eye(2).repeat(2, 1)
    found = simclr.nt_xent(z, z, 0, 0.5)
    assert float(found) == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 2)))


def _half() -> tuple[Tensor, Tensor]:
    """Loss and gradient of a process that has half of the images, both of their views."""
    images = slice(dist.rank() * B // 2, (dist.rank() + 1) * B // 2)
    z = features().view(2, B, D)[:, images].flatten(0, 1).requires_grad_()
    value = simclr.nt_xent(z, simclr.every(z), dist.rank() * len(z), T)
    value.backward()
    assert z.grad is not None
    return value.detach(), z.grad


def test_two_processes_have_the_loss_and_the_gradient_of_one(tmp_path: Path) -> None:
    z = features().requires_grad_()
    whole = simclr.nt_xent(z, z, 0, T)
    whole.backward()
    assert z.grad is not None
    first, second = gloo.run(_half, 2, tmp_path)
    torch.testing.assert_close((first[0] + second[0]) / 2, whole.detach())
    halves = torch.cat([part[1].view(2, B // 2, D) for part in (first, second)], 1) / 2  # as DDP averages
    torch.testing.assert_close(halves.flatten(0, 1), z.grad)


def test_the_projector_ends_with_a_batch_norm_and_layers_have_no_bias() -> None:
    torch.manual_seed(0)
    made = simclr.SimCLR(tiny("simclr"), 48, 0)
    kinds = [type(layer).__name__ for layer in made.net.neck.children()]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "Unit"]
    assert [name for name, _ in made.net.neck.named_parameters()] == [
        "0.weight", "1.weight", "1.bias", "3.weight", "4.weight", "4.bias"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["simclr", "mocov2", "byol"])
def test_more_or_fewer_than_two_views_are_refused(name: str) -> None:
    for count in (1, 3):
        counts = {f"views.{i}.count": count for i in range(len(tiny(name).views))}
        with pytest.raises(Fault, match=rf"two views of an image.* not {count}"):
            override(tiny(name), counts, name)
