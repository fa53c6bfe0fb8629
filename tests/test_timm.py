"""Networks of timm are backbones: their features are timm's, their maps are five, they are trained."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from benchmarks.contract.protocol import catalogue
from benchmarks.protocols.semi_supervised import run as semi_run
from benchmarks.protocols.semi_supervised import tuning
from pretrain.base.faults import Fault
from pretrain.base.settings import changed
from pretrain.data.sets import imagenet
from pretrain.data.view import Input
from pretrain.nets import archs, checkpoint
from pretrain.nets.batch_norm import share_statistics
from pretrain.nets.timm import Timm, depths_of, prepared
from pretrain.train import loop, model_card
from tests import scenes
from tests.test_semi_supervised import FOUR, weights
from tests.test_semi_supervised import task as fine_tuning
from tests.train import tiny

timm = pytest.importorskip("timm")
SMALL = Input(size=32, resize=32)
# Strides of the five maps of what people use; a pyramid of four stages has its first twice.
STRIDES = {
    "resnet18": [2, 4, 8, 16, 32],
    "convnext_tiny": [4, 4, 8, 16, 32],
    "efficientnet_b0": [2, 4, 8, 16, 32],
    "mobilenetv3_small_100": [2, 4, 8, 16, 32],
    "regnety_002": [2, 4, 8, 16, 32],
    "vgg11_bn": [2, 4, 8, 16, 32],
    "densenet121": [2, 4, 8, 16, 32],
    "swin_tiny_patch4_window7_224": [4, 4, 8, 16, 32],
    "deit_tiny_patch16_224": [16] * 5,
    "vit_small_patch16_224": [16] * 5,
}


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit", "test_efficientnet"])
@pytest.mark.parametrize("side", [32, 64])
def test_the_feature_is_timms_own_and_the_maps_are_five(name: str, side: int) -> None:
    net = archs.build(f"timm:{name}", SMALL, 1).eval()
    assert isinstance(net, Timm)
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        assert torch.equal(net(x), net.net(x))
        maps = net.stages(x)
    assert [m.shape[1] for m in maps] == net.dims
    assert len(maps) == 5
    assert net(x).shape == (2, net.dim)


@pytest.mark.parametrize("name", STRIDES)
def test_maps_stand_where_protocols_expect_them(name: str) -> None:
    with torch.device("meta"):
        net = archs.build(f"timm:{name}", SMALL, 0).eval()
        maps = net.stages(torch.zeros(1, 3, 224, 224))
    assert [224 // m.shape[-1] for m in maps] == STRIDES[name]
    assert [m.shape[1] for m in maps] == net.dims


@pytest.mark.parametrize(
    ("blocks", "taken"), [(12, [1, 4, 6, 9, 11]), (6, [0, 1, 3, 4, 5]), (24, [4, 9, 13, 18, 23])]
)
def test_blocks_are_taken_at_fifths_of_the_depth(blocks: int, taken: list[int]) -> None:
    net = torch.nn.Identity()
    net.feature_info = [{"num_chs": 8, "reduction": 16}] * blocks  # type: ignore[assignment]
    assert depths_of(net) == ([8] * 5, taken, 0)


def test_the_same_seed_draws_the_same_network() -> None:
    one, same, other = (archs.build("timm:test_vit", SMALL, seed).state_dict() for seed in (3, 3, 4))
    assert checkpoint.weights_hash(one) == checkpoint.weights_hash(same) != checkpoint.weights_hash(other)


def test_a_sobel_front_end_stands_before_two_channels() -> None:
    net = archs.build("timm:test_resnet", changed(SMALL, sobel=True), 0)
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, net.dim)


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("timm:test_vitt", "has no network 'test_vitt'"),
        ("timm:test_vit.nix", "nix"),
        ("timm:hf-hub:a/b", "has no network"),
    ],
)
def test_an_unknown_name_is_a_fault(arch: str, said: str) -> None:
    with pytest.raises(Fault, match=said) as raised:
        archs.build(arch, SMALL, 0)
    assert raised.value.reason == "bad-config"


def test_an_image_of_a_size_that_a_network_does_not_take_is_a_fault() -> None:
    with torch.device("meta"):
        net = archs.build("timm:mixer_s32_224", SMALL, 0)
        with pytest.raises(Fault, match=r"takes no images of 32 px .*; it was made for 224 px"):
            net(torch.zeros(2, 3, 32, 32))


def test_pixels_are_prepared_as_timm_does() -> None:
    """vit_small_patch16_224.augreg_in21k_ft_in1k: mean and std 0.5, 224 px of 248 (crop 0.9), bicubic."""
    with torch.device("meta"):
        given, interpolation = prepared(timm.create_model("vit_small_patch16_224.augreg_in21k_ft_in1k"))
    assert given == Input(size=224, resize=248, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert interpolation == "bicubic"


def test_detectors_say_in_the_plan_that_they_need_a_resnet() -> None:
    known = catalogue("paper").items()
    refused = {name for name, one in known if one.unfit("timm:vit_small_patch16_224")}
    assert refused == {name for name, one in known if one.roots}


def test_batch_norms_in_groups_keep_their_activations() -> None:
    net = archs.build("timm:test_efficientnet", SMALL, 0).train()
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        apart = torch.cat([copy.deepcopy(net)(part) for part in x.split(4)])
        torch.testing.assert_close(share_statistics(net, 4, 8, "cpu")(x), apart)


def quiet(*_: object) -> None:
    """Of progress nothing is shown."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_convnext", "test_vit"])
def test_a_network_is_trained_resumed_and_described(name: str, tmp_path: Path) -> None:
    """A run that is cut after an epoch and goes on ends with the weights of one that is not."""
    images = scenes.folder(tmp_path / "images", per_class=8)
    split, cpu = imagenet.read(images, "train"), torch.device("cpu")
    recipe = changed(tiny("odc", epochs=2), arch=f"timm:{name}")
    wide = changed(recipe.input, size=32, resize=32)
    recipe = changed(recipe, input=wide, views=tuple(changed(view, size=32) for view in recipe.views))
    whole = loop.fit("odc", recipe, split, tmp_path / "whole", 0, cpu, quiet)

    class Cut(Exception):  # noqa: N818
        pass

    def cut(done: int, total: int, line: str) -> None:
        if done > total // 2:
            raise Cut

    with pytest.raises(Cut):
        loop.fit("odc", recipe, split, tmp_path / "cut", 0, cpu, cut)
    assert (tmp_path / "cut" / "state.pt").exists()
    again = loop.fit("odc", recipe, split, tmp_path / "cut", 0, cpu, quiet)
    assert checkpoint.describe(again).sha256 == checkpoint.describe(whole).sha256
    card = model_card.card("odc", recipe, split, tmp_path / "whole")
    assert card["train_flops_per_image"] > card["flops"] > 0


def test_dropout_of_a_fine_tuning_does_not_depend_on_what_else_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(tuning.Tuning, "finish", lambda *_: None)  # states stay
    few = {**FOUR, "head_multipliers": (1,), "precision": "fp32"}
    given = fine_tuning(tmp_path, arch="timm:ghostnet_050", **few)
    trials = semi_run.grid(given)
    together = weights(given, trials)
    (tmp_path / "val-head1_steplr1e-2.pt").unlink()
    alone = weights(given, trials[1:])
    assert checkpoint.weights_hash(alone[1]) == checkpoint.weights_hash(together[1])
