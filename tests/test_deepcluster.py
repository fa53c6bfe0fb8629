"""DeepCluster: every image learns its own current label, at the right scale, with equal shares of the
clusters.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pretrain.base.faults import Fault
from pretrain.base.settings import changed, override
from pretrain.cluster import health, pca
from pretrain.cluster.kmeans import kmeans
from pretrain.data import dataset
from pretrain.data.loader import Batch, Key, open_loader
from pretrain.data.split import Split
from pretrain.data.view import Input, centre_view
from pretrain.methods.deepcluster.method import DeepCluster, uniform_epoch
from pretrain.nets.archs import build
from pretrain.train import loop, method
from pretrain.train.method import At, Loss
from tests import scenes
from tests.train import tiny
from zoo.suites.suite import recipes

CPU, START = torch.device("cpu"), At(0, 0)
Ids = npt.NDArray[np.int64]


def literal_epoch(labels: Ids, total: int, seed: tuple[int, ...]) -> list[int]:
    """One cluster after the other, from the same random numbers."""
    rng = np.random.default_rng(seed)
    key = rng.random(len(labels))
    members = [sorted((key[i], i) for i in np.flatnonzero(labels == k)) for k in range(labels.max() + 1)]
    filled = [[i for _, i in each] for each in members if each]
    q = total // len(filled) + 1
    u = rng.random((len(filled), q))
    drawn: list[int] = []
    for each, row in zip(filled, u, strict=True):
        drawn += each[:q] if len(each) > q else [each[int(v * len(each))] for v in row]
    return [drawn[i] for i in rng.permutation(len(drawn))[:total]]


def long_tail(n: int = 500, clusters: int = 12, seed: int = 0) -> Ids:
    labels = (np.random.default_rng(seed).pareto(1.0, n) * 3).astype(np.int64).clip(0, clusters - 1)
    labels[labels == 4] = 3  # an empty cluster
    return labels


EXACT = np.repeat(
    [0, 1, 2], [5, 4, 3]
)  # the quota of 12 draws is 5: the first cluster has exactly as many members


@pytest.mark.parametrize("labels", [long_tail(), np.zeros(9, dtype=np.int64), np.arange(30), EXACT])
def test_uniform_sampler_equals_the_literal_one(labels: Ids) -> None:
    total = len(labels)
    assert uniform_epoch(labels, total, (1, 2)).tolist() == literal_epoch(labels, total, (1, 2))


def test_uniform_sampler_gives_every_cluster_its_quota() -> None:
    labels, total = long_tail(), 480
    h = np.bincount(labels)
    filled = h > 0
    q = total // filled.sum() + 1
    ids = uniform_epoch(labels, total, (0,))
    drawn = np.bincount(labels[ids], minlength=len(h))
    assert (drawn[filled] <= q).all()
    assert drawn.sum() == total
    assert (q - drawn[filled]).sum() == q * filled.sum() - total  # what the cut took
    assert (drawn[~filled] == 0).all()
    for k in np.flatnonzero(h > q):
        own = [i for i in ids if labels[i] == k]
        assert len(set(own)) == len(own), "drawn with replacement from a cluster that is large enough"


def test_uniform_sampler_depends_on_its_arguments_alone() -> None:
    labels = long_tail()
    first = uniform_epoch(labels, 100, (3, 5))
    np.random.seed(7)
    torch.manual_seed(7)
    assert (uniform_epoch(labels, 100, (3, 5)) == first).all()
    assert (uniform_epoch(labels, 100, (3, 6)) != first).any()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return dataset.find("imagenet").split(scenes.folder(tmp_path_factory.mktemp("images")), "train")


def made(images: Split, **changes: Any) -> tuple[DeepCluster, method.TrainingData]:
    torch.manual_seed(0)
    recipe = changed(tiny("deepcluster"), **changes)
    built = DeepCluster(recipe, len(images), 0)
    labels = None if images.labels is None else torch.from_numpy(images.labels)
    return built, method.TrainingData(images, recipe, 0, CPU, labels)


def test_labels_are_those_of_whitened_features_image_by_image(images: Split) -> None:
    built, data = made(images)
    built.before_epoch(0, data)
    view = centre_view(data.recipe.input)
    batches = open_loader(images, [view], data.recipe.input, 0, CPU).batches(np.arange(len(images)), 7, 0)
    with torch.no_grad():
        features = torch.cat([built.backbone.eval()(batch.views[0]) for batch in batches])
    white = torch.from_numpy(PCA(4, whiten=True, svd_solver="full").fit_transform(features.numpy()))
    direct = kmeans(F.normalize(white.float()), 6, 20, "l2", method.derive(0, 0, 0), empty="split")
    assert torch.equal(built.labels, direct.labels)


def test_every_epoch_starts_with_the_same_fresh_head_everywhere_and_no_memory_of_the_last(
    images: Split,
) -> None:
    heads = []
    for start in (1, 2):
        built, data = made(images, head_momentum=0.9)
        torch.manual_seed(start)  # another random state, as on another rank
        built.before_epoch(0, data)
        heads.append(built.top.weight.detach().clone())
    assert torch.equal(*heads)
    assert heads[0].std().item() == pytest.approx(0.01, rel=0.2)
    optimizer = torch.optim.SGD(built.groups(), 0.1)
    for at in (At(0, 0), At(0, 1), At(1, 2)):
        if at.epoch == 1:
            built.before_epoch(at.epoch, data)
            assert not torch.equal(built.top.weight, heads[0])
        batch = Batch(torch.arange(16), [torch.randn(16, 3, 16, 16)])
        optimizer.zero_grad()
        built.loss(built.net, batch, at).value.backward()
        built.before_step(at, optimizer)
        assert (built.top.weight in optimizer.state) == (at == At(0, 1))
        optimizer.step()


def test_a_fresh_head_starts_at_ln_k_with_the_gradient_of_the_plain_loss(images: Split) -> None:
    """A loss divided by the number of clusters would train 10,000 times slower."""
    built, data = made(images)
    built.before_epoch(0, data)
    batch = Batch(torch.arange(16), [torch.randn(16, 3, 16, 16)])
    loss = built.loss(built.net, batch, START).value
    assert loss.item() == pytest.approx(math.log(6), abs=0.1)
    (found,) = torch.autograd.grad(loss, [built.top.bias])
    z = built.net([batch.views[0]])[1].softmax(1)
    literal = (z - F.one_hot(built.labels[:16].long(), 6)).mean(0)
    torch.testing.assert_close(found, literal, rtol=1e-4, atol=1e-6)


class Carrying(Dataset[Any]):
    """What the original does: a dataset that holds the labels, and whose workers keep those they were started
    with.
    """

    def __init__(self, images: Dataset[Any], labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __getitems__(self, keys: list[Key]) -> tuple[Any, Tensor]:
        return self.images.__getitems__(keys), self.labels[[key[1] for key in keys]]  # type: ignore[attr-defined]


def epochs_with_labels_of_their_own(
    images: Split, carried: bool, monkeypatch: pytest.MonkeyPatch
) -> list[bool]:
    """Of two epochs with a re-clustering between and the same worker, which have only targets of their
    clustering.
    """
    built, data = made(images)
    inside = open_loader(images, data.recipe.views, data.recipe.input, 0, CPU).images
    dataset: Any = Carrying(inside, built.labels) if carried else inside
    keys = [[(0, i, 0) for i in range(at, at + 16)] for at in range(0, 48, 16)]
    loader: Any = DataLoader(
        dataset, batch_sampler=keys, num_workers=1, persistent_workers=True, collate_fn=as_it_is
    )
    used: list[Tensor] = []
    monkeypatch.setattr(F, "cross_entropy", lambda logits, target: used.append(target) or logits.sum())
    right = []
    for epoch in range(2):
        built.before_epoch(epoch, data)
        if carried:
            dataset.labels = built.labels
        for item in loader:
            (samples, pixels), served = item if carried else (item, None)
            views = [p.permute(0, 3, 1, 2).float() / 255 for p in pixels]
            built.loss(built.net, Batch(torch.from_numpy(samples.ids), views), At(epoch, 3 * epoch))
            used[-1] = served.long() if carried else used[-1]
        right.append(torch.equal(torch.cat(used[-3:]), built.labels.long()))
    return right


def as_it_is(item: Any) -> Any:
    return item


def test_workers_that_outlive_an_epoch_cannot_serve_its_labels(
    images: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert epochs_with_labels_of_their_own(images, False, monkeypatch) == [True, True]


def test_a_dataset_that_carries_labels_is_caught(images: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    assert epochs_with_labels_of_their_own(images, True, monkeypatch) == [True, False]


class Planted(torch.nn.Module):
    """A backbone that gives known features, whatever the images: those of the next rows."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features, self.given = features, 0

    def forward(self, x: Tensor) -> Tensor:
        self.given += len(x)
        return self.features[self.given - len(x) : self.given]


def test_features_along_one_direction_are_an_alarm_though_whitening_fills_all(images: Split) -> None:
    built, data = made(images)
    g = torch.Generator().manual_seed(0)
    line = torch.randn(48, 1, generator=g) * torch.randn(1, built.dim, generator=g)
    features = line + 5e-3 * torch.randn(48, built.dim, generator=g)
    moments = pca.Moments(built.dim, CPU)
    moments.update(features)
    built.net.backbone = Planted(features)
    built.before_epoch(0, data)
    found = built.epoch_diagnostics(data, START, Loss(torch.zeros(())))
    assert float(health.effective_rank(F.normalize(moments.solve(4)(features)))) > 2
    assert float(found["effective_rank"]) < 2
    assert "features collapse" in str(found["warning"])


@pytest.mark.parametrize(("arch", "side", "inside"), [("alexnet", 64, 256), ("vgg16_bn", 32, 512)])
def test_alexnet_and_vgg_cluster_their_second_fully_connected_layer(
    arch: str, side: int, inside: int
) -> None:
    paper = next(r for r in recipes("deepcluster")["paper"] if r.arch == arch)
    given, views = changed(paper.input, size=side), (changed(paper.views[0], size=side),)
    recipe: Any = changed(paper, input=given, views=views, hidden=8, clusters=5, precision="fp32")
    built = DeepCluster(recipe, 10, 0)
    x = torch.randn(2, 3, side, side)
    released = ["Linear", "ReLU", "Dropout", "Linear"]
    released = ["Dropout", *released] if arch == "alexnet" else released
    assert [type(layer).__name__ for layer in built.net.neck] == released
    trunk, (first, second) = built.net.backbone, (m for m in built.net.neck if isinstance(m, torch.nn.Linear))
    assert (first.in_features, second.out_features) == (inside, 8)
    built.net.eval()
    z, logits = built.net([x])
    torch.testing.assert_close(z, second(F.relu(first(trunk(x)))))
    torch.testing.assert_close(logits, built.top(F.relu(z)))
    assert bool((z < 0).any()), "the clustered feature is what the ReLU sees"


def test_fully_connected_layers_on_a_resnet_are_refused() -> None:
    with pytest.raises(Fault, match="follow alexnet or vgg16_bn, not resnet10_narrow; set hidden to 0"):
        override(tiny("deepcluster"), {"hidden": 16}, "deepcluster")


def test_fully_connected_layers_on_images_of_another_size_are_refused() -> None:
    alexnet = {"arch": "alexnet", "hidden": 16}
    with pytest.raises(Fault, match=r"take images of one size, 64 px, not 16; set input\.size and"):
        override(tiny("deepcluster"), {**alexnet, "input.size": 64, "input.resize": 64}, "deepcluster")
    given, _ = override(tiny("deepcluster"), alexnet, "deepcluster")
    with pytest.raises(Fault, match="images of 16 px leave no map for fully connected layers after alexnet"):
        method.find("deepcluster")(given, 48, 0)


def test_features_that_do_not_vary_are_one_sentence(tmp_path: Path) -> None:
    images = dataset.find("imagenet").split(scenes.folder(tmp_path / "images"), "train")
    same = Split("same", images.root, images.files[:1] * 48, None, ())
    with pytest.raises(Fault, match=r"PCA: the 48 features do not vary .* all images are the same"):
        loop.fit("deepcluster", tiny("deepcluster"), same, tmp_path / "run", 0, CPU, lambda *_: None)


def test_alexnet_and_vgg_have_the_released_layouts() -> None:
    for arch, convolutions, parameters in (
        ("alexnet", [0, 4, 8, 11, 14], 3_747_200 - 11 * 11 * 96 + 2 * (96 + 256 + 384 + 384 + 256)),
        ("vgg16_bn", [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40], 14_714_688 - 9 * 64 + 2 * 4224),
    ):
        with torch.device("meta"):
            net = build(arch, Input(size=224, resize=256, sobel=True), 0)
            net.sobel = None  # it has no weights, and the meta device no autocast
            maps = net.stages(torch.zeros(1, 2, 224, 224))
        names = [name for name, value in net.named_parameters() if value.ndim == 4]
        assert names == [f"features.{i}.weight" for i in convolutions]
        assert sum(p.numel() for p in net.parameters()) == parameters
        assert [m.shape[2] for m in maps] == (
            [55, 27, 13, 13, 13] if arch == "alexnet" else [224, 112, 56, 28, 14]
        )
