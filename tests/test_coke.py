"""CoKe: duals, centroids, labels and both losses against literal versions; clusters keep their least size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.base.settings import changed
from pretrain.data import dataset
from pretrain.methods.coke import method as coke
from pretrain.train import loop
from pretrain.train.method import At
from tests import gloo, scenes
from tests.train import tiny

N, B, D, CLUSTERINGS, RATE, RATIO = 48, 16, 8, (5, 7), 3.0, 0.4
Floats = npt.NDArray[np.float64]


class Literal:
    """The released algorithm, one image and one cluster at a time; labels are averaged from epoch `stage`.

    Weights of labels are fp32, as theirs are: two may tie but for their rounding.
    """

    def __init__(self, made: coke.CoKe, stage: int, places: int) -> None:
        rows = made.centroids.double().numpy()
        self.last = [rows[:5].copy(), rows[5:].copy()]
        self.current = [c.copy() for c in self.last]
        self.duals = [np.zeros(k) for k in CLUSTERINGS]
        self.counts = [np.zeros(k) for k in CLUSTERINGS]
        self.labels = [[-1] * N for _ in CLUSTERINGS]
        self.slots: list[list[list[list[Any]]]] = [
            [[[-1, np.float32(0)] for _ in range(places)] for _ in range(N)] for _ in CLUSTERINGS
        ]
        self.stage = stage

    def averages(self, epoch: int) -> bool:
        return 0 < self.stage <= epoch

    def target(self, q: int, i: int, fresh: int, epoch: int) -> dict[int, float]:
        """Label -> weight."""
        if epoch == 0:
            return {fresh: 1.0}
        if not self.stage or epoch <= self.stage:
            return {self.labels[q][i]: 1.0}
        weights = {y: math.exp(w / 0.5) for y, w in self.slots[q][i] if w > 0}
        return {int(y): w / sum(weights.values()) for y, w in weights.items()}

    def step(self, ids: list[int], f: Floats, epoch: int) -> list[list[int]]:
        found = []
        for q, k in enumerate(CLUSTERINGS):
            C = self.last[q] if self.averages(epoch) else self.current[q]
            ys = [max(range(k), key=lambda c: C[c] @ row + self.duals[q][c]) for row in f]
            for y in ys:
                self.duals[q][y] -= RATE / len(f)
            self.duals[q] = np.maximum(self.duals[q] + RATE * RATIO / k, 0)
            for c in set(ys):
                members = [row for row, y in zip(f, ys, strict=True) if y == c]
                total = self.counts[q][c] + len(members)
                mean = (self.counts[q][c] * self.current[q][c] + sum(members)) / total
                self.current[q][c] = mean if self.averages(epoch) else mean / np.linalg.norm(mean)
                self.counts[q][c] = total
            for i, y in zip(ids, ys, strict=True):
                self.remember(q, i, y, epoch)
            found.append(ys)
        return found

    def remember(self, q: int, i: int, y: int, epoch: int) -> None:
        self.labels[q][i] = y
        slots = self.slots[q][i]
        if self.stage and epoch == self.stage:
            slots[0] = [y, np.float32(1)]
        if not self.stage or epoch <= self.stage:
            return
        share = 1 / (epoch - self.stage + 1)
        kept = [j for j, (old, _) in enumerate(slots) if old == y]
        place = kept[0] if kept else min(range(len(slots)), key=lambda j: slots[j][1])
        lost = np.float32(0) if kept else slots[place][1]
        slots[place][1] -= lost
        for slot in slots:
            slot[1] = slot[1] * np.float32(1 - share) / (1 - lost)
        slots[place] = [y, slots[place][1] + np.float32(share)]

    def end(self, epoch: int) -> None:
        for q, k in enumerate(CLUSTERINGS):
            if self.averages(epoch):
                share = 1 / (epoch - self.stage + 1)
                for c in range(k):
                    unit = self.current[q][c] / np.linalg.norm(self.current[q][c])
                    mean = (1 - share) * self.last[q][c] + share * unit
                    self.current[q][c] = mean / np.linalg.norm(mean)
            self.last[q] = self.current[q].copy()
            self.counts[q] = np.zeros(k)


def built(n: int = N, **changes: Any) -> coke.CoKe:
    torch.manual_seed(0)
    small = {"clusterings": CLUSTERINGS, "dim": D, "dual_rate": RATE, "ratio": RATIO, "mixture_from": 0}
    return coke.CoKe(changed(tiny("coke"), **(small | changes)), n, 0)


def units(seed: int, rows: int = B) -> Tensor:
    return F.normalize(torch.randn(rows, D, generator=torch.Generator().manual_seed(seed)))


def close(found: Tensor, expected: list[Floats]) -> None:
    torch.testing.assert_close(
        found.double(), torch.from_numpy(np.concatenate(expected)), rtol=1e-4, atol=1e-5
    )


def as_targets(labels: Tensor, weights: Tensor) -> list[dict[int, float]]:
    """Label -> weight of every image."""
    rows = zip(labels.tolist(), weights.tolist(), strict=True)
    return [{y: w for y, w in zip(*row, strict=True) if w > 0} for row in rows]


@pytest.mark.parametrize(("stage", "places"), [(0, 5), (2, 2), (1, 3)])
def test_the_clustering_follows_the_literal_algorithm(stage: int, places: int) -> None:
    """Features wander slowly, so that labels change and come back."""
    made = built(mixture_from=stage, mixture=places)
    literal, base, risen = Literal(made, stage, places), units(99, N), 0.0
    for epoch in range(8):
        order = torch.randperm(N, generator=torch.Generator().manual_seed(epoch))
        for step, index in enumerate(order.split(B)):
            f = F.normalize(base[index] + 0.6 * units(100 * epoch + step)) * 0.9  # means of two are shorter
            fresh = made.assign(f, epoch)
            targets = made.targets(index, fresh, epoch)
            before = [
                [literal.target(q, i, int(y), epoch) for i, y in zip(index.tolist(), fresh[q], strict=True)]
                for q in range(2)
            ]
            expected = literal.step(index.tolist(), f.double().numpy(), epoch)
            made.after_step(At(epoch, 3 * epoch + step), index, f, fresh.T)
            assert fresh.tolist() == expected, f"labels differ in epoch {epoch}"
            for q in range(2):
                found = as_targets(targets[0][q], targets[1][q])
                assert all(a == pytest.approx(b) for a, b in zip(found, before[q], strict=True))
            close(made.current, literal.current)
            close(made.duals, literal.duals)
            risen = max(risen, *literal.duals[0])
            made.check()
        close(made.counts, literal.counts)
        made.after_epoch(epoch)
        literal.end(epoch)
        close(made.centroids, literal.last)
        assert made.labels.tolist() == literal.labels
    assert risen > 0
    if stage:
        assert any(sum(w > 0 for _, w in slots) == places for slots in literal.slots[0])


def test_duals_and_centroids_by_hand() -> None:
    """Four images in cluster 0 of 2: its dual falls by 3 (1 - 0.2), to 0; the other's rises to 3 * 0.2."""
    made = built(clusterings=(2,), dim=2, ratio=0.4)
    start = made.current[1].clone()
    f = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    made.after_step(At(0, 0), torch.arange(4), f, torch.zeros(4, 1, dtype=torch.int64))
    assert made.duals.tolist() == pytest.approx([0, 0.6])
    assert made.counts.tolist() == [4, 0]
    torch.testing.assert_close(made.current, torch.stack([torch.full((2,), 0.5**0.5), start]))
    # Four times that direction and once (1, 0), then scaled to unit length.
    made.after_step(At(0, 1), torch.tensor([4]), f[:1], torch.zeros(1, 1, dtype=torch.int64))
    x, y = 4 * 0.5**0.5 + 1, 4 * 0.5**0.5
    assert made.current[0].tolist() == pytest.approx([x / math.hypot(x, y), y / math.hypot(x, y)])
    assert made.duals.tolist() == pytest.approx([0, 1.2])


@pytest.mark.parametrize(("rate", "least"), [(0.0, 0), (1.0, 20)])
def test_duals_keep_clusters_at_their_least_size(rate: float, least: int) -> None:
    """Images in a narrow cone, of which 0.4 / 8 times 480 = 24 should be in every cluster at least."""
    made = built(n=480, clusterings=(8,), dual_rate=rate)
    cone = F.normalize(torch.ones(480, D) + 0.2 * units(1, 480))
    for epoch in range(6):
        sizes = torch.zeros(8, dtype=torch.int64)
        for index in torch.randperm(480, generator=torch.Generator().manual_seed(epoch)).split(B):
            labels = made.assign(cone[index], epoch)
            made.after_step(At(epoch, 0), index, cone[index], labels.T)
            sizes += labels[0].bincount(minlength=8)
        made.after_epoch(epoch)
    assert int(sizes.min()) >= least
    assert (int(sizes.min()) < 20) == (rate == 0)


def test_an_image_without_a_label_has_its_fresh_one_and_the_others_those_of_the_last_epoch() -> None:
    made = built()
    made.labels[:, :2] = torch.tensor([[1, 2], [3, 4]])
    fresh = torch.tensor([[0, 0, 0], [1, 1, 1]])
    index = torch.tensor([0, 1, 5])
    assert made.targets(index, fresh, 0)[0][:, :, 0].tolist() == fresh.tolist()
    assert made.targets(index, fresh, 1)[0][:, :, 0].tolist() == [[1, 2, 0], [3, 4, 1]]


def test_an_image_that_no_averaging_epoch_has_seen_keeps_its_latest_label() -> None:
    made = built(mixture_from=1, mixture=3)
    made.labels.fill_(2)
    made.mixed[:, 0], made.weights[:, 0] = torch.tensor([4, 1, -1]), torch.tensor([0.75, 0.25, 0.0])
    labels, weights = made.targets(torch.tensor([0, 7]), torch.zeros(2, 2, dtype=torch.int64), 3)
    a, b = math.exp(1.5), math.exp(0.5)
    first, second = as_targets(labels[0], weights[0])
    assert first == pytest.approx({4: a / (a + b), 1: b / (a + b)})
    assert second == {2: 1.0}


def test_the_first_epoch_clusters_and_leaves_the_weights_alone(tmp_path: Path) -> None:
    split = dataset.find("imagenet").split(scenes.folder(tmp_path / "images"), "train")
    recipe = tiny("coke", epochs=1)
    loop.fit("coke", recipe, split, tmp_path, 0, torch.device("cpu"), lambda *_: None)
    torch.manual_seed(0)
    fresh = coke.CoKe(recipe, len(split), 0)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    for name, weight in fresh.net.named_parameters():
        assert torch.equal(weight, state["net"][name]), name
    assert int(state["memories"]["labels"].min()) >= 0
    assert not torch.equal(state["memories"]["centroids"], fresh.centroids)


def _two_steps(world: int) -> dict[str, Tensor]:
    made, share = built(mixture_from=1, mixture=2), B // world
    rank = torch.distributed.get_rank() if world > 1 else 0
    for epoch in range(3):
        index, f = torch.arange(B) + epoch, units(epoch)
        mine = slice(rank * share, (rank + 1) * share)
        labels = made.assign(f[mine], epoch)
        made.after_step(At(epoch, epoch), index[mine], f[mine], labels.T)
        made.after_epoch(epoch)
    return made.memories()


def test_two_processes_cluster_as_one(tmp_path: Path) -> None:
    alone = _two_steps(1)
    for found in gloo.run(_two_steps, 2, tmp_path, 2):
        assert all(torch.equal(found[name], memory) for name, memory in alone.items())


def test_figures_tell_of_every_clustering_and_of_clusters_that_die(tmp_path: Path) -> None:
    made: Any = built()
    made.labels.fill_(1)
    made.counts[:5] = 3
    made.counts[6] = 48
    data: Any = type("Data", (), {"labels": torch.arange(N) % 3})
    last: Any = type("Last", (), {"seen": (None, units(1), None)})
    found = made.epoch_diagnostics(data, At(1, 3), last)
    assert {"size_min", "size_min_0", "size_empty_1", "dual_max", "nmi_classes"} & found.keys()
    assert (found["size_min_0"], found["size_empty_1"]) == (3, 6)
    assert "one holds 100% of the images" in found["warning"]
