"""DeepCluster-v2: banks, labels and prototypes by sample id; prototypes rest within an epoch; resume with any
W.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.base import dist
from pretrain.base.faults import Fault
from pretrain.base.settings import changed, override
from pretrain.cluster import kmeans as clustering
from pretrain.data import dataset
from pretrain.data.loader import Batch
from pretrain.data.split import Split
from pretrain.methods.deepclusterv2.method import DeepClusterV2
from pretrain.train import method
from pretrain.train.method import At, Loss
from tests import gloo, scenes
from tests.train import tiny

CPU, START = torch.device("cpu"), At(0, 0)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Split:
    root = scenes.folder(
        tmp_path_factory.mktemp("images"), per_class=17
    )  # 51: three of them short of a batch
    return dataset.find("imagenet").split(root, "train")


def made(images: Split, **changes: Any) -> tuple[DeepClusterV2, method.TrainingData]:
    torch.manual_seed(0)
    recipe = changed(tiny("deepclusterv2"), **changes)
    return DeepClusterV2(recipe, len(images), 0), method.TrainingData(images, recipe, 0, CPU, None)


def planted(images: Split) -> DeepClusterV2:
    """Labels and prototypes that no k-means made."""
    built, _ = made(images)
    g = torch.Generator().manual_seed(1)
    built.labels = torch.randint(6, built.labels.shape, generator=g, dtype=torch.int32)
    built.prototypes = torch.nn.functional.normalize(torch.randn(built.prototypes.shape, generator=g), dim=2)
    return built


def batch_of(ids: list[int], views: int = 3) -> Batch:
    return Batch(torch.tensor(ids), [torch.randn(len(ids), 3, 16, 16) for _ in range(views)])


def test_the_loss_sees_the_label_of_each_sample_in_every_head_and_crop(images: Split) -> None:
    built, batch = planted(images), batch_of([5, 40, 2, 17])
    built.labels[1, 40] = -1
    z = built.net(batch.views)[0].view(3, 4, -1)
    heads = []
    for q in range(3):
        terms = [
            -torch.log_softmax(built.prototypes[q] @ z[v, row] / 0.1, 0)[int(built.labels[q, i])]
            for v in range(3)
            for row, i in enumerate(batch.index.tolist())
            if built.labels[q, i] >= 0
        ]
        heads.append(torch.stack(terms).mean())
    torch.testing.assert_close(built.loss(built.net, batch, START).value, torch.stack(heads).mean())


def test_a_batch_without_labels_gives_no_loss_and_no_gradient(images: Split) -> None:
    built = planted(images)
    built.labels.fill_(-1)
    loss = built.loss(built.net, batch_of([0, 1, 2]), START).value
    loss.backward()
    assert loss.item() == 0
    assert all(float(p.grad.abs().sum()) == 0 for p in built.net.parameters() if p.grad is not None)


def test_banks_take_the_features_of_their_own_crop_and_sample(images: Split) -> None:
    built, batch = planted(images), batch_of([9, 3, 50])
    loss = built.loss(built.net, batch, START)
    z = built.net(batch.views)[0].view(3, 3, -1)
    built.after_step(START, *loss.seen)
    for bank in (0, 1):
        for row, i in enumerate((9, 3, 50)):
            torch.testing.assert_close(built.bank[bank, i], z[bank, row])
    assert built.visited.nonzero().flatten().tolist() == [3, 9, 50]


def test_the_start_fills_both_banks_in_the_order_of_the_first_epoch(images: Split) -> None:
    built, data = made(images)
    built.start(data)
    again, _ = made(images)
    first = next(data.batches(again.order(0, 51, 0), data.recipe.views, -1))
    with torch.no_grad():  # one crop at a time, statistics of the batch
        for bank, view in enumerate(first.views[:2]):
            torch.testing.assert_close(
                built.bank[bank, first.index], again.net([view])[0], rtol=1e-4, atol=1e-5
            )
    assert set(built.visited.nonzero().flatten().tolist()) == set(again.order(0, 51, 0)[:48].tolist())


def test_heads_cluster_banks_0_1_0_and_unvisited_samples_are_ignored(
    images: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, data = made(images)
    built.start(data)
    seen: list[tuple[Tensor, int]] = []
    engine = clustering.kmeans

    def spy(x: Tensor, k: int, iterations: int, metric: str, seed: int, **more: Any) -> clustering.Clusters:
        assert (k, iterations, metric) == (6, 10, "cosine")
        seen.append((x, seed))
        return engine(x, k, iterations, metric, seed, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(clustering, "kmeans", spy)
    visited = built.visited.clone()
    built.labels.fill_(3)  # of the last epoch, for everyone
    built.before_epoch(0, data)
    assert [
        torch.equal(x, built.bank[bank, visited]) for (x, _), bank in zip(seen, (0, 1, 0), strict=True)
    ] == [True] * 3
    assert len({seed for _, seed in seen}) == 3, "heads of one bank differ by their start"
    assert torch.equal(built.labels >= 0, visited.expand(3, -1))
    for q, bank in enumerate((0, 1, 0)):
        nearest = (built.bank[bank] @ built.prototypes[q].T).argmax(1)
        assert torch.equal(nearest[visited].int(), built.labels[q, visited])
    assert not built.visited.any()
    built.check()


def test_prototypes_rest_within_an_epoch_and_are_not_trained(images: Split) -> None:
    built, data = made(images)
    built.start(data)
    built.before_epoch(0, data)
    kept = built.prototypes.clone()
    optimizer = torch.optim.SGD(built.groups(), 0.1)
    for step, batch in enumerate(data.batches(np.arange(51), data.recipe.views, 0)):
        optimizer.zero_grad()
        loss = built.loss(built.net, batch, At(0, step))
        loss.value.backward()
        optimizer.step()
        built.after_step(At(0, step), *loss.seen)
        assert torch.equal(built.prototypes, kept)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in built.net.parameters()}
    assert not any(value.shape[-2:] == kept.shape[-2:] for value in built.net.state_dict().values())
    built.before_epoch(1, data)
    assert not torch.equal(built.prototypes, kept)


def test_diagnostics_tell_of_every_head_and_warn_of_the_worst(images: Split) -> None:
    built, data = made(images)
    built.start(data)
    built.before_epoch(0, data)
    built.visited.fill_(True)
    built.figures[:, 1] = torch.tensor([0.1, 0.2, 0.6])
    at, last = At(0, 2), Loss(torch.zeros(()))
    found = built.epoch_diagnostics(data, at, last)
    assert [found[f"objective_{q}"] for q in range(3)] == pytest.approx([0.1, 0.2, 0.6])
    assert found["objective"] == pytest.approx(0.3)
    built.labels[:] = torch.arange(51) % 6
    built.labels[2] = 5
    found = built.epoch_diagnostics(data, at, last)
    assert "one holds 100% of the images" in str(found["warning"])
    assert [found[f"size_empty_{q}"] for q in range(3)] == [0, 0, 5]


def _clustered(images: Split, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    built, data = made(images)
    built.restore({name: tensor.clone() for name, tensor in state.items()})
    built.before_epoch(1, data)
    for name, tensor in built.memories().items():
        dist.assert_replicated(tensor, name)
    return built.labels, built.prototypes


def test_two_processes_continue_what_one_has_saved(images: Split, tmp_path: Path) -> None:
    built, data = made(images)
    built.start(data)
    state = built.memories()
    labels, prototypes = _clustered(images, state)
    for found in gloo.run(_clustered, 2, tmp_path, images, state):
        assert torch.equal(found[0], labels)
        torch.testing.assert_close(found[1], prototypes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"banks": 4}, "4 crops cannot be clustered where an image has 3"),
        ({"kmeans_backend": "faiss"}, "faiss always splits clusters to refill empty ones; set empty = split"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Fault, match=said) as raised:
        override(tiny("deepclusterv2"), changes, "deepclusterv2")
    assert raised.value.reason == "bad-config"


def test_more_prototypes_than_images_are_refused() -> None:
    with pytest.raises(Fault, match="6 prototypes need at least as many images in an epoch's batches, not 4"):
        changed(tiny("deepclusterv2"), batch_size=4).fits(5, 3)
