"""VISSL's linear transfer: its published settings, and which layer is reported."""

from __future__ import annotations

from math import sqrt

import pytest
import torch

from benchmarks.protocols.transfer import protocol as transfer
from benchmarks.protocols.transfer.run import heads, outcome
from benchmarks.solvers.classifiers import Heads
from benchmarks.solvers.heads import Course
from pretrain.train import optim


def test_settings_are_the_published_ones() -> None:
    (paper,) = transfer.PAPER
    given, solver = paper.settings, paper.settings.solver
    rates = [solver.lr * optim.factor(solver.schedule, e, 1, solver.epochs) for e in range(solver.epochs)]
    assert rates == pytest.approx([1e-2] * 8 + [1e-3] * 8 + [1e-4] * 8 + [1e-5] * 4)
    assert (solver.momentum, solver.nesterov, solver.weight_decay) == (0.9, True, 5e-4)
    assert (given.batch_size, given.precision) == (256, "fp32")
    (view,) = given.views
    assert (view.size, view.scale, view.flip) == (224, (0.08, 1.0), 0.5)
    assert (view.jitter, view.lighting) == ((0.0, 0.0, 0.0, 0.0), 0.0)


def test_heads_are_those_of_the_configuration() -> None:
    found = [(h.name, h.map, h.pool, h.norm) for h in heads(transfer.PAPER[0].settings)]
    pooled = [
        (name, at, "grid", "affine") for at, name in enumerate(("conv1", "res2", "res3", "res4", "res5"))
    ]
    assert found == [*pooled, ("res5avg", 4, "average", "affine"), ("res5avg_bare", 4, "average", "none")]


def test_weights_and_biases_are_drawn_uniformly() -> None:
    """As torch draws a linear layer: within 1 / sqrt(inputs)."""
    maps = [torch.zeros(2, 16, 2, 2)] * 5
    for layer in Heads(heads(transfer.PAPER[0].settings), maps, 50, limit=64).linears.values():
        bound = 1 / sqrt(layer.in_features)
        for drawn in (layer.weight, layer.bias):
            assert 0.8 * bound < drawn.abs().max() <= bound


def course(top1: float) -> Course:
    """A head whose best epoch is not its last."""
    return Course({"epoch 1": 99.0, "epoch 2": top1}, {"epoch 1": 100.0, "epoch 2": top1 + 20})


def test_the_best_layer_of_the_last_epoch_is_reported_beside_the_fixed_one() -> None:
    found = outcome({"res4": course(40), "res5": course(60), "res5avg": course(50)}, {}, 100)
    scores = {score.name: score for score in found.scores}
    assert {name: score.value for name, score in scores.items()} == {
        "top1": 60, "top5": 80, "res4_top1": 40, "res5_top1": 60, "res5avg_top1": 50,
        "res4_top5": 60, "res5_top5": 80, "res5avg_top5": 70,
    }  # fmt: skip
    chosen = scores["top1"].selection
    assert chosen is not None
    assert (chosen.of, chosen.choice, chosen.on) == ("layer", "res5", "val")
    assert chosen.among == {"res4": 40, "res5": 60, "res5avg": 50}
    assert scores["top1"].honest == "res5avg_top1"


def test_where_the_fixed_layer_is_lost_the_best_of_the_others_has_no_twin() -> None:
    found = outcome({"res4": course(40)}, {"res5avg": "why"}, 100)
    assert (found.scores[0].value, found.scores[0].honest) == (40, "")
    assert dict(found.missing) == {"res5avg_top1": "why", "res5avg_top5": "why"}
