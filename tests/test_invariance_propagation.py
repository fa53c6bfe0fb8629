"""Invariance Propagation: nearest images, ways through the graph, loss and memories equal literal ones."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.base.faults import Fault
from pretrain.base.settings import changed, override
from pretrain.data.loader import Batch
from pretrain.methods.invariance_propagation import method as invp
from pretrain.train.method import At
from tests import gloo
from tests.train import tiny

N, B, D, K, BACKGROUND = 40, 8, 6, 3, 12


def built(**changes: Any) -> invp.InvariancePropagation:
    torch.manual_seed(0)
    small = {
        "dim": D, "neighbours": K, "background": BACKGROUND, "layers": 2, "positives": 5, "propagate_from": 2,
        "positive_weight": 0.6, "temperature": 0.2, "memory_momentum": 0.3,
    }  # fmt: skip
    return invp.InvariancePropagation(changed(tiny("invariance_propagation"), **(small | changes)), N, 0)


def units(seed: int, rows: int = B) -> Tensor:
    return F.normalize(torch.randn(rows, D, generator=torch.Generator().manual_seed(seed)))


def stirred(made: invp.InvariancePropagation) -> None:
    """A bank and a graph as they are in the middle of a run."""
    g = torch.Generator().manual_seed(5)
    made.bank = F.normalize(torch.randn(N, D, generator=g))
    made.graph = torch.randint(N, (N, K), generator=g).int()


def literal_ways(graph: list[list[int]], start: int, layers: int) -> list[int]:
    found, front = [], [start]
    for _ in range(layers):
        front = [j for i in front for j in graph[i]]
        found += front
    return found


def literal_loss(made: invp.InvariancePropagation, z: Tensor, index: Tensor, propagates: bool) -> Tensor:
    """All similarities of every row, in fp64, by the formulas as they stand."""
    recipe, rows = made.recipe, []
    for row, i in zip(z.double(), index.tolist(), strict=True):
        s = (made.bank.double() @ row / recipe.temperature).exp()
        background = s.sort(descending=True).values[: recipe.background].sum()
        value = -(s[i] / background + 1e-7).log()
        if propagates:
            ways = literal_ways(made.graph.tolist(), i, recipe.layers)
            hard = s[ways].sort().values[: recipe.positives].sum()
            value = value - recipe.positive_weight * (hard / (background - s[i]) + 1e-7).log()
        rows.append(value)
    return torch.stack(rows).mean()


@pytest.mark.parametrize(("epoch", "propagates"), [(0, False), (1, False), (2, True), (9, True)])
def test_the_loss_and_its_gradient_are_the_literal_ones(epoch: int, propagates: bool) -> None:
    made, index = built(), torch.arange(B) * 3
    stirred(made)
    z = F.normalize(made.bank[index] + 0.4 * units(1)).requires_grad_()
    z.data[-1] = -made.bank[index[-1]]  # the last image is not in its own background
    found = made.loss(lambda views: (z, z), Batch(index, [z]), At(epoch, 0))  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(found.value, z)
    expected = literal_loss(made, z, index, propagates)
    torch.testing.assert_close(found.value.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, z)[0], rtol=1e-4, atol=1e-6)


def test_the_loss_by_hand() -> None:
    """Four images on a square, temperature 1, a background of two: e for the image, 1 for one beside it."""
    made = built(dim=2, neighbours=1, background=2, layers=1, positives=1, temperature=1.0, propagate_from=0)
    made.bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    made.graph = torch.tensor([[2], [0], [0], [0]], dtype=torch.int32)
    z = torch.tensor([[1.0, 0.0]])
    found = made.loss(lambda views: (z, z), Batch(torch.tensor([0]), [z]), At(0, 0))  # type: ignore[arg-type]
    instance = -math.log(math.e / (math.e + 1))
    propagation = -math.log(math.exp(-1) / 1)
    assert float(found.value) == pytest.approx(instance + 0.6 * propagation, rel=1e-5)
    assert found.seen[2].shape == (1, 1)
    assert int(found.seen[2]) in (1, 3)


def test_an_image_that_is_alone_with_itself_has_a_finite_loss() -> None:
    """All of its background but itself is nothing beside it in fp32."""
    made, index = built(temperature=0.02), torch.arange(2)
    made.bank = -units(1, 1).repeat(N, 1)
    made.bank[:2] = units(1, 1)
    made.bank[1] *= -1
    z = units(1, 1).repeat(2, 1).requires_grad_()
    found = made.loss(lambda views: (z, z), Batch(index, [z]), At(5, 0))  # type: ignore[arg-type]
    assert bool(torch.autograd.grad(found.value, z)[0].isfinite().all())
    assert bool(found.value.isfinite())


@pytest.mark.parametrize("tile", [1, 7, 13, 40, 1000])
def test_nearest_rows_are_those_of_a_full_sort(tile: int) -> None:
    bank, z = units(1, N), units(2)
    expected = (z @ bank.T).argsort(1, descending=True)[:, :BACKGROUND]
    assert torch.equal(invp.nearest(z, bank, BACKGROUND, tile), expected)


def test_neighbours_are_others() -> None:
    near = torch.tensor([[5, 1, 2, 3], [1, 5, 2, 3], [1, 2, 3, 5], [1, 2, 3, 4]])
    found = invp.others(near, torch.full((4,), 5))
    assert [sorted(row) for row in found.tolist()] == [[1, 2, 3]] * 4


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_ways_through_the_graph(layers: int) -> None:
    """k + k^2 + ... ends, as often as ways lead there."""
    graph = torch.randint(9, (9, 2), generator=torch.Generator().manual_seed(0)).int()
    found = invp.reach(graph, torch.tensor([0, 4]), layers)
    assert found.shape == (2, sum(2**step for step in range(1, layers + 1)))
    for row, start in zip(found.tolist(), (0, 4), strict=True):
        assert sorted(row) == sorted(literal_ways(graph.tolist(), start, layers))


def test_memories_take_the_features_and_neighbours_of_a_step() -> None:
    made, index, z = built(), torch.arange(B) * 4, units(3)
    stirred(made)
    made_of, bank, graph = made.bank.clone(), made.bank.clone(), made.graph.clone()
    seen = made.loss(lambda views: (z, z), Batch(index, [z]), At(0, 0)).seen  # type: ignore[arg-type]
    made.after_step(At(0, 0), *seen)
    for row, i in enumerate(index.tolist()):
        order = [j for j in (made_of @ z[row]).argsort(descending=True).tolist() if j != i]
        graph[i] = torch.tensor(order[:K]).int()
        bank[i] = (0.3 * bank[i] + 0.7 * z[row]) / (0.3 * bank[i] + 0.7 * z[row]).norm()
    torch.testing.assert_close(made.bank, bank)
    assert [set(row) for row in made.graph.tolist()] == [set(row) for row in graph.tolist()]
    made.check()


def test_a_run_starts_from_a_random_bank_and_images_that_know_none_but_themselves() -> None:
    made = built(dim=64)
    assert torch.equal(made.bank, built(dim=64).bank)
    assert float(made.bank.abs().max()) <= math.sqrt(3 / 64)
    assert float(made.bank.square().sum(1).mean()) == pytest.approx(1, abs=0.05)
    assert made.graph.tolist() == [[i] * K for i in range(N)]


def test_the_published_head_has_no_batch_norm_and_biases_of_zero() -> None:
    own = [*built(head_bn=True).net.neck.children()]
    assert [type(layer).__name__ for layer in own] == [
        "Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "Unit"
    ]  # fmt: skip
    assert own[4].weight is None
    first, _, second, _ = built(head_bn=False).net.neck.children()
    for layer in (first, second):
        assert isinstance(layer, nn.Linear)
        assert not layer.bias.any()
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        assert 0.9 * bound < float(layer.weight.detach().abs().max()) <= bound


def _steps(world: int) -> dict[str, Tensor]:
    made, share = built(propagate_from=0), B // world
    rank = torch.distributed.get_rank() if world > 1 else 0
    for step in range(6):
        index, z = (torch.arange(B) * 5 + step) % N, units(step)
        mine = slice(rank * share, (rank + 1) * share)
        batch = Batch(index[mine], [z[mine]])
        seen = made.loss(lambda views: (views[0], views[0]), batch, At(0, step)).seen  # type: ignore[arg-type]
        made.after_step(At(0, step), *seen)
    return made.memories()


def test_two_processes_remember_as_one(tmp_path: Path) -> None:
    alone = _steps(1)
    for found in gloo.run(_steps, 2, tmp_path, 2):
        torch.testing.assert_close(found["bank"], alone["bank"], rtol=0, atol=1e-6)
        assert torch.equal(found["graph"], alone["graph"])


def test_figures_tell_how_many_neighbours_are_of_one_class_and_of_a_collapse() -> None:
    made = built()
    stirred(made)
    made.graph = (torch.arange(N)[:, None] + torch.tensor([[0, 2, 1]])).remainder(N).int()
    data: Any = type("Data", (), {"labels": torch.arange(N) % 2})
    last: Any = None
    found = made.epoch_diagnostics(data, At(0, 0), last)
    assert found["graph_labels"] == pytest.approx(2 / 3)
    assert "warning" not in found
    made.bank = made.bank[:1].repeat(N, 1)
    warning = str(made.epoch_diagnostics(data, At(0, 0), last)["warning"])
    assert "features collapse: effective rank 1.00" in warning
    data.labels = None
    assert "graph_labels" not in made.epoch_diagnostics(data, At(0, 0), last)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"neighbours": 32}, "neighbours: 32 are not fewer than the 32 of the background"),
        ({"views.0.count": 2}, "views: a step sees one view of an image, not 2"),
        ({"temperature": 0.01}, r"temperature: expected at least 0.02, got 0.01"),
        ({"memory_momentum": 1.0}, r"memory_momentum: expected less than 1.0, got 1.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Fault, match=said):
        override(tiny("invariance_propagation"), changes, "invariance_propagation")


def test_a_background_larger_than_the_data_is_refused() -> None:
    with pytest.raises(Fault, match="the 32 nearest images cannot be found among 31; lower 'background'"):
        tiny("invariance_propagation").fits(31, 3)
