"""What is kept of a method's clusters: images never seen are assigned as the trained network does it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from pretrain.base.faults import Fault
from pretrain.base.settings import changed
from pretrain.data.dataset import find as data_set
from pretrain.data.loader import open_loader
from pretrain.data.view import centre_view
from pretrain.methods.deepcluster.method import DeepCluster
from pretrain.nets import checkpoint, clusters
from pretrain.nets.clusters import Clustering
from pretrain.train import loop, method
from tests import scenes
from tests.train import tiny

CPU = torch.device("cpu")


def quiet(done: int, total: int, line: str) -> None:
    """Nobody is told."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.folder(tmp_path_factory.mktemp("images"))


def pixels(images: Path, recipe: Any) -> Tensor:
    """The images of val, as evaluation sees them."""
    split = data_set("imagenet").split(images, "val")
    loader = open_loader(split, [centre_view(recipe.input)], recipe.input, 0, CPU)
    (batch,) = loader.batches(torch.arange(len(split)).numpy(), len(split), 0)
    return batch.views[0]


def scores(trained: Any, x: Tensor) -> list[Tensor]:
    """Of every head, what the method itself compares clusters by, the largest wins: (B, K)."""
    with torch.no_grad():
        z, logits = trained.net.eval()([x])
        if type(trained).__name__ == "DeepClusterV2":
            return [z @ c.T for c in trained.prototypes]
        if type(trained).__name__ == "ODC":
            cosine = trained.recipe.metric == "cosine"
            return [F.normalize(z) @ (F.normalize(trained.memory.C) if cosine else trained.memory.C).T]
        if type(trained).__name__ == "SwAV":  # its step has left them as the optimiser did
            return [logits / trained.prototypes.weight.norm(dim=1)]
        return [logits]


@pytest.mark.parametrize("name", ["deepcluster", "deepclusterv2", "odc", "swav"])
def test_kept_clusters_are_those_of_the_trained_network(name: str, images: Path, tmp_path: Path) -> None:
    recipe = tiny(name, epochs=1)
    split = data_set("imagenet").split(images, "train")
    weights = loop.fit(name, recipe, split, tmp_path, 0, CPU, quiet)
    meta, kept = clusters.load(tmp_path / clusters.NAME)
    assert meta.method == name
    assert meta.backbone == checkpoint.describe(weights).sha256

    trained = method.find(name)(recipe, len(split), 0)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    trained.net.load_state_dict(state["net"])
    trained.restore(state["memories"])
    x = pixels(images, recipe)
    z = kept.project(checkpoint.load(weights), x)
    for head, expected in enumerate(scores(trained, x)):
        as_distances = {"cosine": 1 - expected, "dot": -expected, "classifier": -expected.log_softmax(1)}
        torch.testing.assert_close(kept.distances(z, head), as_distances[meta.metric], rtol=1e-4, atol=1e-5)
    assert meta.heads == len(scores(trained, x))


def test_a_finished_run_that_has_no_clusters_gets_them_without_training(images: Path, tmp_path: Path) -> None:
    split, seen = data_set("imagenet").split(images, "train"), list[int]()
    recipe = tiny("odc", epochs=1)
    loop.fit("odc", recipe, split, tmp_path, 0, CPU, quiet)
    before = clusters.describe(tmp_path / clusters.NAME)
    (tmp_path / clusters.NAME).unlink()
    loop.fit("odc", recipe, split, tmp_path, 0, CPU, lambda done, total, line: seen.append(done))
    assert clusters.describe(tmp_path / clusters.NAME) == before
    assert not seen


def test_methods_without_clusters_leave_no_file(images: Path, tmp_path: Path) -> None:
    recipe = tiny("random", epochs=0)
    loop.fit("random", recipe, data_set("imagenet").split(images, "train"), tmp_path, 0, CPU, quiet)
    assert not (tmp_path / clusters.NAME).exists()


def test_fully_connected_layers_of_an_alexnet_are_kept(tmp_path: Path) -> None:
    """The clustered features stand behind max-pooling and two layers, before a ReLU."""
    given = changed(tiny("deepcluster").input, size=64, resize=64)
    views = tuple(changed(view, size=64) for view in tiny("deepcluster").views)
    recipe = changed(tiny("deepcluster"), arch="alexnet", hidden=8, dropout=0.5, input=given, views=views)
    made = DeepCluster(recipe, 4, 0)
    made.net.eval()
    x = torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    path = tmp_path / clusters.NAME
    clusters.save(path, made.clustering(), "deepcluster", "0" * 64)
    kept = clusters.load(path)[1]
    with torch.no_grad():
        expected = -made.net([x])[1].log_softmax(1)
    torch.testing.assert_close(kept.distances(kept.project(made.backbone, x)), expected)


def test_distances_by_hand() -> None:
    c, z = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor([[3.0, 4.0]])
    bias = torch.tensor([[0.0, -5.0]])
    by = {m: Clustering(m, c, bias=bias).distances(z)[0].tolist() for m in ("l2", "cosine", "dot")}
    assert by["l2"] == pytest.approx([20**0.5, 13**0.5])
    assert by["cosine"] == pytest.approx([-2.0, -7.0])
    assert by["dot"] == pytest.approx([-3.0, -8.0])
    equal = Clustering("classifier", c, bias=bias).distances(z)[0].tolist()
    assert equal == pytest.approx([torch.log(torch.tensor(2.0)).item()] * 2)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    clusters.save(tmp_path / clusters.NAME, Clustering("l2", torch.eye(3)[None]), "odc", "0" * 64)
    return tmp_path / clusters.NAME


def test_a_flipped_bit_is_noticed(written: Path) -> None:
    body = bytearray(written.read_bytes())
    body[-1] ^= 1
    written.write_bytes(body)
    with pytest.raises(Fault, match="differ from its header's digest"):
        clusters.load(written)


@pytest.mark.parametrize("body", [b"", b"PK\x03\x04", bytes(100)])
def test_other_files_are_refused(written: Path, body: bytes) -> None:
    written.write_bytes(body)
    with pytest.raises(Fault, match="holds no clusters of this zoo"):
        clusters.describe(written)


def test_a_file_of_another_kind_is_refused(written: Path) -> None:
    save_file(load_file(written), written)
    with pytest.raises(Fault, match="schema None"):
        clusters.describe(written)


def test_clusters_that_are_not_finite_are_not_kept(tmp_path: Path) -> None:
    broken = replace(Clustering("l2", torch.eye(3)[None]), centroids=torch.full((1, 2, 2), torch.nan))
    with pytest.raises(Fault, match="'centroids' is not finite"):
        clusters.save(tmp_path / clusters.NAME, broken, "odc", "0" * 64)
    assert not (tmp_path / clusters.NAME).exists()
