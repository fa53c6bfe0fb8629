"""Model-card facts equal the published figures of ResNet-50 and follow the recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pretrain import dist, facts, folder, loop, method
from pretrain.backbone import build
from pretrain.recipe import Input
from tests import scenes
from tests.train import tiny

pytestmark = pytest.mark.usefixtures("one_thread")


def test_resnet50_has_its_published_size() -> None:
    net = build("resnet50", Input(size=224, resize=256), 0)
    assert facts.parameters(net) == 23_508_032
    assert facts.macs(net, [224]) / 1e9 == pytest.approx(4.087, abs=0.001)
    assert facts.layers(net) == 50
    assert "Bottleneck Residual Block" in facts.blocks(net)
    assert "Max Pooling" in facts.blocks(net)


def test_training_flops_of_the_smallest_published_recipe() -> None:
    """2 x 160 and 4 x 96 px cost 43.2 GFLOP per image, prototypes included: 6 crops x 9000 x 128 of them."""
    recipe = method.recipes("deepclusterv2")["paper"][0]
    net = method.find("deepclusterv2")(recipe, 1, torch.device("cpu"), 0).net
    prototypes = facts._prototype_macs(recipe)
    assert prototypes == 6 * 9000 * 128
    assert facts._prototype_macs(method.recipes("swav")["paper"][0]) == 8 * 3000 * 128
    assert facts._prototype_macs(method.recipes("odc")["paper"][0]) == 0
    counted = facts.macs(net, [160, 160, 96, 96, 96, 96], views=True) + prototypes
    assert facts.parameters(net) == 27_970_752
    assert 6 * counted / 1e9 == pytest.approx(43.2, abs=0.1)


def test_card_of_a_run(tmp_path: Path) -> None:
    split = folder.load("pretrain.datasets", "imagenet").split(scenes.folder(tmp_path / "images"), "train")
    recipe = replace(tiny("deepclusterv2"), epochs=1)
    loop.fit("deepclusterv2", recipe, split, tmp_path, 0, torch.device("cpu"), lambda *_: None)
    card = facts.card("deepclusterv2", recipe, split, tmp_path)
    assert card["method"] == "DeepCluster-v2"
    assert (card["id"], card["epochs"], card["classes"], card["temperature"]) == (recipe.name, 1, 3, 0.1)
    assert {"LARC", "SGD with momentum", "Cosine learning rate with warm-up"} <= set(card["techniques"])
    assert "Multi-crop" in card["techniques"]
    assert "Multi-crop" not in facts.techniques(tiny("odc"))
    assert card["file_bytes"] == (tmp_path / "backbone.safetensors").stat().st_size
    assert card["seconds"] > 0
    assert card["device_hours"] == pytest.approx(card["seconds"] / 3600)
    net = method.find("deepclusterv2")(recipe, 1, torch.device("cpu"), 0).net
    counted = facts.macs(net, [16, 16, 8], views=True) + 3 * recipe.heads * recipe.prototypes * recipe.dim
    assert card["train_flops_per_image"] == 6 * counted
    assert 0 <= card["nmi_classes"] <= 1
    assert card["parameters_in_training"] > card["parameters"]
    assert (card["width_multiplier"], card["layers"]) == (0.25, 10)


@pytest.mark.parametrize(
    ("cuda", "world", "group", "images"), [(False, 8, 512, 512), (True, 1, 512, 4096), (True, 8, 0, 4096)]
)
def test_batch_norm_facts_are_those_of_the_run(
    cuda: bool, world: int, group: int, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU never synchronises; one process has its whole batch whatever group was asked for."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(dist, "world_size", lambda: world)
    recipe = replace(method.recipes("swav")["paper"][0], bn_group=group)
    assert facts._batch_norm_images(recipe) == images
    assert ("Synchronised batch norm" in facts.techniques(recipe)) == (cuda and world > 1)


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
    assert facts.title(name) == title


def test_published_rates_and_layers() -> None:
    rates = facts._rates(method.recipes("deepclusterv2")["paper"][0])
    assert rates == pytest.approx({"lr": 4.8, "lr_per_256": 0.3, "lr_first": 0.3, "lr_last": 0.0048}, rel=1e-3)
    with torch.device("meta"):
        found = [
            facts.layers(build(arch, Input(size=224, resize=256), 0)) for arch in ("resnet18", "alexnet", "vgg16_bn")
        ]
    assert found == [18, 8, 16]
