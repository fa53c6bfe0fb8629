"""Model-card facts equal the published figures of ResNet-50 and follow the recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pretrain.base import dist
from pretrain.base.settings import changed
from pretrain.data import dataset
from pretrain.data.view import Input
from pretrain.nets.archs import build
from pretrain.train import loop, method, model_card
from tests import scenes
from tests.train import tiny
from zoo.suites.suite import recipes


def test_resnet50_has_its_published_size() -> None:
    net = build("resnet50", Input(size=224, resize=256), 0)
    assert model_card.parameters(net) == 23_508_032
    assert model_card.forward_flops(net, 224) / 2e9 == pytest.approx(4.087, abs=0.001)
    assert model_card.layers(net) == 50
    assert "Bottleneck Residual Block" in model_card.blocks(net)
    assert "Max Pooling" in model_card.blocks(net)


@pytest.mark.slow
def test_training_flops_of_the_smallest_published_recipe() -> None:
    """2 x 160 and 4 x 96 px, forward and twice that backward, but for the gradient of the images.

    43.2 GFLOP is three times the forward pass of all crops and 6 x 3 heads of 3000 x 128 prototypes.
    """
    recipe = recipes("deepclusterv2")["paper"][0]
    stem = sum(view.count * 2 * 64 * 3 * 49 * (view.size // 2) ** 2 for view in recipe.views)
    assert model_card.parameters(method.find("deepclusterv2")(recipe, 1, 0).net) == 27_970_752
    counted = model_card.step_flops("deepclusterv2", recipe)
    assert (counted + stem) / 1e9 == pytest.approx(43.2, abs=0.1)


def test_card_of_a_run(tmp_path: Path) -> None:
    split = dataset.find("imagenet").split(scenes.folder(tmp_path / "images"), "train")
    recipe = tiny("deepclusterv2", epochs=1)
    loop.fit("deepclusterv2", recipe, split, tmp_path, 0, torch.device("cpu"), lambda *_: None)
    card = model_card.card("deepclusterv2", recipe, split, tmp_path)
    assert card["method"] == "DeepCluster-v2"
    assert (card["id"], card["epochs"], card["classes"], card["temperature"]) == (recipe.name, 1, 3, 0.1)
    assert {"LARC", "SGD with momentum", "Cosine learning rate"} <= set(card["techniques"])
    assert "Multi-crop" in card["techniques"]
    assert "Multi-crop" not in tiny("odc").techniques()
    assert card["file_bytes"] == (tmp_path / "backbone.safetensors").stat().st_size
    assert card["seconds"] > 0
    assert card["device_hours"] == pytest.approx(card["seconds"] / 3600)
    assert card["train_flops_per_image"] == model_card.step_flops("deepclusterv2", recipe)
    assert 0 <= card["nmi_classes"] <= 1
    assert card["parameters_in_training"] > card["parameters"]
    assert (card["width_multiplier"], card["layers"]) == (0.25, 10)


@pytest.mark.parametrize(
    ("world", "group", "images", "shared"), [(8, 512, 512, False), (16, 512, 512, True), (1, 0, 4096, False)]
)
def test_batch_norm_facts_are_those_of_the_run(
    world: int, group: int, images: int, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dist, "world_size", lambda: world)
    recipe = changed(recipes("swav")["paper"][0], bn_group=group)
    assert model_card.batch_norm_images(recipe) == images
    assert model_card.synchronised(recipe) == shared


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("odc", "Online Deep Clustering"),
        ("deepcluster", "DeepCluster"),
        ("deepclusterv2", "DeepCluster-v2"),
        ("swav", "SwAV"),
    ],
)
def test_titles(name: str, title: str) -> None:
    assert model_card.title(name) == title


def test_published_rates_and_layers() -> None:
    rates = model_card.rates(recipes("deepclusterv2")["paper"][0])
    assert rates == pytest.approx(
        {"lr": 4.8, "lr_per_256": 0.3, "lr_first": 0.3, "lr_last": 0.0048}, rel=1e-3
    )
    with torch.device("meta"):
        found = [
            model_card.layers(build(arch, Input(size=224, resize=256), 0))
            for arch in ("resnet18", "alexnet", "vgg16_bn")
        ]
    assert found == [18, 8, 16]
