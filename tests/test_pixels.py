"""Raw pixels are a backbone like any other, whose features are the images themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.protocols.detection import protocol as detection
from pretrain.base.faults import Fault
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from zoo.models import entries
from zoo.store import Store
from zoo.suites import builtin
from zoo.suites.suite import Trained


@pytest.mark.parametrize(("size", "dim"), [(32, 3072), (55, 9075), (224, 9075)])
def test_its_features_are_the_image_or_what_is_left_of_a_large_one(size: int, dim: int) -> None:
    backbone = build("pixels", Input(size=size, resize=size), 0)
    x = torch.randn(2, 3, size, size)
    features = backbone(x)
    assert features.shape == (2, dim) == (2, backbone.dim)
    if size <= 55:
        assert torch.equal(features, x.flatten(1))
    maps = backbone.stages(x)
    assert [m.shape[1] for m in maps] == backbone.dims
    assert torch.equal(maps[0], x)
    torch.testing.assert_close(
        maps[1][:, :, 0, 0], x[:, :, :2, :2].mean((2, 3)) if size % 2 == 0 else maps[1][:, :, 0, 0]
    )


def test_it_is_kept_and_read_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    checkpoint.save(path, build("pixels", Input(size=32, resize=32), 0), "pixels", {})
    assert checkpoint.load(path)(torch.ones(1, 3, 32, 32)).shape == (1, 3072)


def test_it_follows_the_size_of_the_others_and_not_their_network(tmp_path: Path) -> None:
    sets = {"pretrain": {"arch": "resnet18", "input.size": 48, "input.resize": 48}}
    suite = builtin.load("demo", tmp_path, sets)
    network, pixels = entries(suite, Store(tmp_path), ["random"])
    assert isinstance(network, Trained)
    assert isinstance(pixels, Trained)
    assert (network.recipe.arch, network.recipe.input.size) == ("resnet18", 48)
    assert (pixels.recipe.arch, pixels.recipe.input.size) == ("pixels", 48)


@pytest.mark.parametrize("sets", [{"epochs": 5}, {"arch": "resnet18"}, {"inputt.size": 64}])
def test_a_setting_of_it_that_nothing_would_heed_is_refused(tmp_path: Path, sets: dict[str, object]) -> None:
    suite = builtin.load("demo", tmp_path, {"raw_pixels": sets})
    with pytest.raises(Fault, match=r"unknown setting '.*' in raw_pixels.*\(known: input\)"):
        entries(suite, Store(tmp_path), ["odc"])


def test_detection_leaves_it_out_with_a_reason() -> None:
    unfit = detection.PAPER[0].unfit("pixels")
    assert unfit is not None
    assert "this model is of architecture pixels" in str(unfit)
