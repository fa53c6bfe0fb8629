"""Any module is a backbone: what it gives is its feature, and what it has not is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.contract.protocol import Protocol, catalogue
from benchmarks.contract.task import Task
from pretrain.base.faults import Fault
from pretrain.base.settings import changed
from pretrain.data.sets import imagenet
from pretrain.data.view import IMAGENET_MEAN
from pretrain.nets import checkpoint
from pretrain.nets.foreign import Foreign, foreign
from tests import scenes

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.2, 0.1)


def vectors(dim: int = 7) -> nn.Module:
    """A module that gives features (N, dim)."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, dim)
    )


def test_a_vector_is_the_feature_and_the_only_map() -> None:
    module = vectors().train()
    net = foreign(module, size=16, mean=MEAN, std=STD, name="mine")
    assert module.training, "looking at a module leaves it as it was"
    net.eval()
    x = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(net(x), module(x))
    assert (net.dims, net.dim, net.arch) == ([7], 7, "foreign:mine")
    assert (net.input.size, net.input.resize, net.input.mean, net.input.std) == (16, 16, MEAN, STD)


def test_a_map_is_averaged() -> None:
    module = nn.Conv2d(3, 5, 3)
    net = foreign(module, size=12, name="mine")
    x = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(net(x), module(x).mean((2, 3)))
    assert [m.shape for m in net.stages(x)] == [(2, 5, 10, 10)]


def test_images_are_prepared_as_networks_of_that_size_are_tested() -> None:
    assert foreign(vectors(), size=224, name="mine").input.resize == 256
    assert foreign(vectors(), size=32, name="mine").input.resize == 32
    assert foreign(vectors(), size=32, resize=40, name="mine").input.resize == 40
    assert foreign(vectors(), size=32, name="mine").input.mean == IMAGENET_MEAN


def test_five_maps_may_be_given_beside_the_feature() -> None:
    def maps(x: Tensor) -> list[Tensor]:
        return [x[:, :1]] * 5

    net = foreign(vectors(), size=16, name="mine", maps=maps)
    x = torch.randn(2, 3, 16, 16)
    assert net.dims == [1] * 5
    assert net.dim == 7
    assert len(net.stages(x)) == 5
    torch.testing.assert_close(net.eval()(x), net.module(x))
    with pytest.raises(Fault, match="expected five"):
        foreign(vectors(), size=16, name="mine", maps=lambda x: [x])


def test_its_identity_is_that_of_its_tensors_and_of_its_preprocessing() -> None:
    same, other = (foreign(vectors(), size=16, name="mine") for _ in range(2))
    assert same.identity() == other.identity()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    assert same.identity()["weights"] != other.identity()["weights"]
    assert same.identity() != foreign(vectors(), size=18, name="mine").identity()
    assert same.identity() != foreign(vectors(), size=16, name="yours").identity()


def test_a_file_of_it_has_the_same_identity_and_says_that_it_cannot_be_built(tmp_path: Path) -> None:
    net = foreign(vectors(), size=16, name="mine")
    net.module[1].num_batches_tracked.fill_(5)  # type: ignore[index, union-attr, operator]
    checkpoint.save(tmp_path / "x", net, net.arch, {})
    assert checkpoint.describe(tmp_path / "x").identity() == net.identity()
    with pytest.raises(Fault, match="cannot be built by name"):
        checkpoint.load(tmp_path / "x")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Flatten(2), r"got \(2, 3, 256\)"),
        (nn.LSTM(16, 2), "fails on images"),
        (nn.Linear(5, 2), r"fails on images \(2, 3, 16, 16\)"),
        (nn.Flatten(0, 1), "expected features"),
    ],
)
def test_what_gives_no_feature_is_refused(module: nn.Module, said: str) -> None:
    with pytest.raises(Fault, match=said) as raised:
        foreign(module, size=16, name="mine")
    assert raised.value.reason == "bad-config"


@pytest.mark.parametrize("bad", [{"name": "a/b"}, {"name": ""}, {"std": (0.0, 1.0, 1.0)}, {"size": 0}])
def test_settings_out_of_bounds_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(Fault, match=r"mine|name"):
        foreign(vectors(), **{"size": 16, "name": "mine", **bad})


def task(root: Path, net: Foreign, protocol: Protocol) -> Task:
    images = scenes.folder(root / "images", per_class=4)
    path = root / "backbone.safetensors"
    checkpoint.save(path, net, net.arch, {})
    folder = {"train": "train", "val": "val", "test": "val"}
    splits = {role: imagenet.read(images, folder[role]) for role in protocol.data}
    if "test" in splits:  # every class of its own: present, or not
        one_of = np.eye(3, dtype=np.int64)
        splits = {role: replace(one, labels=one_of[one.labels]) for role, one in splits.items()}
    return Task(
        protocol=protocol, backbone=net, checkpoint=path, splits=splits,
        fingerprints=dict.fromkeys(splits, ""), roots={}, work=root, cache=root, seed=0,
        device=torch.device("cpu"), report=lambda *_: None,
    )  # fmt: skip


def test_a_crop_larger_than_its_images_is_refused() -> None:
    with pytest.raises(Fault, match="resize 32: a centre crop of 64 px does not fit"):
        foreign(nn.Conv2d(3, 4, 1), size=64, resize=32)


def test_linear_heads_on_maps_that_there_are_not_say_so(tmp_path: Path) -> None:
    protocol = catalogue("smoke")["imagenet_linear"]
    protocol = replace(protocol, settings=changed(protocol.settings, precision="fp32", batch_size=4))
    outcome = protocol.load()(task(tmp_path, foreign(vectors(), size=16, name="mine"), protocol))
    assert {score.name for score in outcome.scores} >= {"Feature5_top1", "AvgPool_top1"}
    for name in ("Feature1", "Feature2", "Feature3", "Feature4"):
        assert "only the last 1 of the 5 maps" in outcome.missing[f"{name}_top1"]


def test_neighbours_are_those_of_its_feature(tmp_path: Path) -> None:
    protocol = catalogue("smoke")["imagenet_knn"]
    protocol = replace(protocol, settings=changed(protocol.settings, ks=(1,)))
    outcome = protocol.load()(task(tmp_path, foreign(vectors(), size=16, name="mine"), protocol))
    assert outcome.scores[0].name == "k1_top1"


@pytest.mark.parametrize("side", [0, 20])
def test_support_vectors_stand_on_its_last_layer_alone(tmp_path: Path, side: int) -> None:
    protocol = catalogue("paper")["voc07_svm"]
    given = changed(protocol.settings, costs=(1.0, 10.0), folds=2, side=side)
    made = task(
        tmp_path, foreign(nn.Conv2d(3, 4, 3), size=16, name="mine"), replace(protocol, settings=given)
    )
    outcome = protocol.load()(made)
    assert [score.name for score in outcome.scores] == ["mAP", "mAP_honest", "feature5_mAP"]
    assert outcome.scores[0].value == outcome.scores[2].value


def test_what_trains_the_backbone_itself_says_that_it_cannot() -> None:
    refused = {name for name, one in catalogue("paper").items() if one.unfit("foreign:mine")}
    assert refused == {name for name, one in catalogue("paper").items() if not one.frozen}
