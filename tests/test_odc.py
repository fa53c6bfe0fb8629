"""ODC memories equal a literal re-implementation of the paper's step, and its invariants hold after each
one.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pretrain.cluster.kmeans import two_means
from pretrain.data import dataset
from pretrain.methods.odc import memory as odc
from pretrain.train import state
from pretrain.train.method import At, Loss
from tests import scenes
from tests.train import tiny

K, D, M, MOMENTUM = 12, 8, 4, 0.5


class Literal:
    """The released algorithm, word for word: full recounts, a full centroid refresh, one cluster at a
    time.
    """

    def __init__(self, features: Tensor, labels: Tensor, clusters: int, small: int) -> None:
        self.F, self.y, self.K, self.m = features.clone(), labels.clone(), clusters, small
        self.C = torch.stack(
            [self.mean(k) if (labels == k).any() else torch.zeros(D) for k in range(clusters)]
        )

    def mean(self, k: int) -> Tensor:
        return self.F[self.y == k].mean(0)

    def best(self, f: Tensor, among: list[int]) -> int:
        return max(among, key=lambda k: (float(self.C[k] @ f), -k))

    def step(self, index: Tensor, z: Tensor, refresh: bool) -> float:
        latest = {int(i): row for row, i in enumerate(index)}
        changed = 0
        for i, row in latest.items():
            blend = (1 - MOMENTUM) * self.F[i] + MOMENTUM * z[row]
            self.F[i] = blend / blend.norm().clamp_min(1e-12)
            label = self.best(self.F[i], list(range(self.K)))
            changed += label != int(self.y[i])
            self.y[i] = label
        if refresh:
            for k in range(self.K):
                if (self.y == k).any():
                    self.C[k] = self.mean(k)
        self.handle_small()
        return changed / len(latest)

    def handle_small(self) -> None:
        h = [int((self.y == k).sum()) for k in range(self.K)]
        small = [k for k in range(self.K) if h[k] < self.m]
        if len(small) == self.K:
            small.remove(max(range(self.K), key=lambda k: (h[k], -k)))
        big = [k for k in range(self.K) if k not in small]
        for i in range(len(self.y)):
            if int(self.y[i]) in small:
                self.y[i] = self.best(self.F[i], big)
        for e in small:
            q = max(range(self.K), key=lambda k: (int((self.y == k).sum()), -k))
            members = (self.y == q).nonzero().squeeze(1)
            self.y[members[two_means(self.F[members])]] = e
            self.C[q], self.C[e] = self.mean(q), self.mean(e)


def unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x)


def start(n: int, seed: int) -> tuple[odc.Memory, Literal, torch.Generator]:
    g = torch.Generator().manual_seed(seed)
    features = unit(torch.randn(n, D, generator=g).relu())
    labels = torch.randint(K, (n,), generator=g)
    memory = odc.remember(features.clone(), labels, K)
    literal = Literal(features, labels, K, M)
    odc.handle_small(memory, M, "dot")
    literal.handle_small()
    return memory, literal, g


@pytest.mark.parametrize(("n", "steps"), [(150, 150), (40, 80), (K, 40)])
def test_memory_follows_the_literal_algorithm_and_keeps_its_invariants(n: int, steps: int) -> None:
    memory, literal, g = start(n, seed=n)
    for t in range(1, steps + 1):
        index = torch.randint(n, (16,), generator=g)  # duplicates are common
        z = unit(torch.randn(16, D, generator=g).relu() + memory.C[memory.y[index]])
        z[0] = 0 if t % 7 == 0 else z[0]  # a dead feature
        odc.update(memory, index, z, MOMENTUM, "dot")
        if t % 10 == 0:
            odc.refresh(memory)
        before = memory.h.clone()
        handled = odc.handle_small(memory, M, "dot")
        changed = literal.step(index, z, refresh=t % 10 == 0)
        assert torch.equal(memory.y, literal.y), f"labels differ at step {t}"
        assert float(memory.changed) == pytest.approx(changed)
        odc.check_memory(memory)
        assert int(memory.h.min()) >= 1
        assert handled == 0 or int(before.min()) < M
        torch.testing.assert_close(memory.C, literal.C, rtol=1e-4, atol=1e-5)


def test_a_sample_drawn_twice_counts_once_and_its_last_feature_wins() -> None:
    index = torch.tensor([5, 3, 5, 7, 3, 5])
    assert odc.last_occurrence(index).tolist() == [5, 4, 5, 3, 4, 5]


def test_two_clusters_by_hand() -> None:
    """Features e1, e1, e2; image 1 moves from cluster 0 to 1 when its new feature points at e2."""
    F = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    memory = odc.remember(F.clone(), torch.tensor([0, 0, 1]), 2)
    odc.update(memory, torch.tensor([1]), torch.tensor([[0.0, 1.0]]), 0.9, "dot")
    expected = torch.tensor([0.1, 0.9]) / math.hypot(0.1, 0.9)
    torch.testing.assert_close(memory.F[1], expected)
    assert memory.y.tolist() == [0, 1, 1]
    assert memory.h.tolist() == [1, 2]
    torch.testing.assert_close(memory.S, torch.stack([F[0], F[2] + expected]))
    torch.testing.assert_close(memory.C, torch.tensor([[1.0, 0], [0, 1]]))  # frozen until the next refresh


def test_assignment_metrics_differ_as_they_should() -> None:
    """A loose cluster has a short mean centroid: the raw product prefers the tight one, cosine the
    direction.
    """
    C, f = torch.tensor([[0.5, 0.5], [0.0, 1.0]]), unit(torch.tensor([[0.6, 0.7]]))
    assert odc.assign(C, f, "dot").item() == 1
    assert odc.assign(C, f, "cosine").item() == 0


@pytest.mark.parametrize("scale", [1, 7, 10_000])
def test_equal_clusters_give_the_unweighted_loss_at_any_scale(scale: int) -> None:
    w = odc.class_weights(torch.full((50,), scale), 0.5)
    logits, y = torch.randn(20, 50), torch.randint(50, (20,))
    weighted = torch.nn.functional.cross_entropy(logits, y, weight=w)
    torch.testing.assert_close(weighted, torch.nn.functional.cross_entropy(logits, y))
    assert w.mean().item() == pytest.approx(1)


def test_incremental_sums_do_not_drift() -> None:
    memory, _, g = start(500, seed=3)
    for _ in range(800):
        index = torch.randint(500, (32,), generator=g)
        odc.update(memory, index, unit(torch.randn(32, D, generator=g)), MOMENTUM, "dot")
    S = torch.zeros_like(memory.S).index_add_(0, memory.y, memory.F)
    assert float((S - memory.S).norm() / S.norm()) < 1e-5


def test_the_first_line_tells_of_the_initial_clustering_and_every_line_of_sizes_and_features(
    tmp_path: Path,
) -> None:
    split = dataset.find("imagenet").split(scenes.folder(tmp_path / "images"), "train")
    run = state.begin("odc", tiny("odc"), split, tmp_path, 0, torch.device("cpu"), lambda *_: None)
    made: Any = run.method
    last = (At(0, 2), Loss(torch.zeros(())))
    initial = {"objective_start", "objective", "reseeded", "kmeans_empty"}
    made.memory.S += 1e-3  # sums that have drifted: whoever rebuilt them would change them
    kept = {name: value.clone() for name, value in made.memories().items()}
    first = made.epoch_diagnostics(run.data, *last)
    assert all(torch.equal(value, kept[name]) for name, value in made.memories().items())
    made.after_epoch(0)
    assert torch.equal(made.memory.S, odc.sums(made.memory.F, made.memory.y, len(made.memory.h)))
    second = made.epoch_diagnostics(run.data, *last)
    assert first.keys() - second.keys() == initial
    assert {"size_empty", "size_p50", "size_imbalance", "effective_rank"} <= second.keys()
    made.restore(kept)
    assert made.epoch_diagnostics(run.data, *last) == first
    made.memory.F[:] = made.memory.F[0]
    assert "features collapse: effective rank 1.00" in made.epoch_diagnostics(run.data, *last)["warning"]


def test_a_memory_copies_what_it_keeps() -> None:
    g = torch.Generator().manual_seed(0)
    features, labels = unit(torch.randn(60, D, generator=g)), torch.randint(K, (60,), generator=g)
    given = features.clone(), labels.clone()
    memory = odc.remember(features, labels, K)
    for t in range(3):
        odc.update(memory, torch.arange(20 * t, 20 * t + 20), unit(torch.randn(20, D)), MOMENTUM, "dot")
        odc.handle_small(memory, M, "dot")
    assert not torch.equal(memory.F, features)
    assert not torch.equal(memory.y, labels)
    assert torch.equal(features, given[0])
    assert torch.equal(labels, given[1])
