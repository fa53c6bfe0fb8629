"""What is matched, missing, ignored, ambiguous, untrained or something else is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pretrain.base.faults import Fault
from pretrain.data.view import IMAGENET_MEAN, IMAGENET_STD
from pretrain.nets.formats.contract import Flags
from pretrain.nets.formats.reading import read
from tests.formats.sources import behind, head, kept, other, trained


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return dict(trained("resnet20").state_dict())


def saved(folder: Path, body: Any) -> Path:
    torch.save(body, folder / "x.pth")
    return folder / "x.pth"


def refused(path: Path, flags: Flags | None = None) -> str:
    with pytest.raises(Fault) as raised:
        read(path, flags or Flags())
    assert raised.value.reason == "weights-mismatch"
    return str(raised.value)


def test_every_key_is_accounted_for(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = kept("moco", state, tmp_path)
    report = read(path).report
    assert len(report.matched) == report.expected == 95
    assert (report.within, report.prefix) == ("state_dict", "module.encoder_q.")
    twin = [name for name in report.ignored if ".encoder_k." in name]
    counters = [name for name in report.ignored if "encoder_q" in name and "num_batches" in name]
    assert len(twin) == len(state)
    assert len(counters) == 19
    assert "state_dict.module.queue" in report.ignored


def test_two_networks_in_one_file_are_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(tmp_path, {**behind("left.", state), **behind("right.", other(state))})
    said = refused(path)
    assert "--prefix 'left.'" in said
    assert "--prefix 'right.'" in said
    chosen = read(path, Flags(prefix="right."))
    torch.testing.assert_close(chosen.backbone.state_dict()["conv1.weight"], state["conv1.weight"] + 1)


def test_two_networks_in_dicts_of_their_own_are_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    """A prefix alone would not tell them: there is none in either."""
    path = saved(tmp_path, {"state_dict": state, "state_dict_ema": other(state)})
    said = refused(path)
    assert "--prefix 'state_dict.'" in said
    assert "--layout plain --prefix 'state_dict_ema.'" in said
    chosen = read(path, Flags(layout="plain", prefix="state_dict_ema."))
    torch.testing.assert_close(chosen.backbone.state_dict()["conv1.weight"], state["conv1.weight"] + 1)


@pytest.mark.parametrize("within", [True, False])
def test_a_teacher_of_another_architecture_is_not_taken_for_an_average(
    within: bool, state: dict[str, Tensor], tmp_path: Path
) -> None:
    """As of distillation, where the student is what was made."""
    large = trained("resnet32").state_dict()
    whole = {**behind("module.student.", state), **behind("module.teacher.", large)}
    path = saved(tmp_path, {"student": state, "teacher": large} if within else {"state_dict": whole})
    said = refused(path)
    assert "can be read in 2 ways that differ" in said
    flags = Flags(layout="plain", prefix="student." if within else "module.student.")
    assert f"--layout plain --prefix '{flags.prefix}'" in said
    assert read(path, flags).arch == "resnet20"


def test_a_wrong_prefix_is_told_the_right_one(state: dict[str, Tensor], tmp_path: Path) -> None:
    said = refused(saved(tmp_path, behind("backbone.", state)), Flags(prefix="backbone"))
    assert "no backbone behind 'backbone' among" in said
    assert "pass --layout plain --prefix 'backbone.'" in said


@pytest.mark.parametrize("channels", [1, 13])
def test_images_of_other_channels_are_named(channels: int, state: dict[str, Tensor], tmp_path: Path) -> None:
    body = behind("module.encoder_q.", {**state, "conv1.weight": torch.ones(16, channels, 3, 3)})
    said = refused(saved(tmp_path, body))
    assert f"'module.encoder_q.conv1.weight' has {channels} input channels, expected 3" in said
    assert "--layout" not in said


def test_quantised_weights_are_not_taken_for_weights(state: dict[str, Tensor], tmp_path: Path) -> None:
    whole = {**state, "layer1.0.conv1.weight": torch.ones(16, 16, 3, 3, dtype=torch.int8)}
    assert "some hold whole numbers" in refused(saved(tmp_path, whole))


def test_what_has_no_tensor_of_ours_is_not_offered_as_a_part(tmp_path: Path) -> None:
    body = {"stem.0.weight": torch.ones(8, 3, 4, 4), "stages.0.blocks.0.gamma": torch.ones(8)}
    said = refused(saved(tmp_path, body))
    assert "it holds a ConvNeXt" in said
    assert "--allow-partial" not in said


def test_a_crop_larger_than_its_images_is_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"resize 24: a centre crop of 32 px does not fit.*expected 32 or more"):
        read(saved(tmp_path, state), Flags(resize=24))
    assert read(saved(tmp_path, state), Flags(size=24)).input.resize == 32


CAFFE = (
    "model = dict(backbone=dict(depth=50, style='caffe'))\n"
    "img_norm_cfg = dict(\n    mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)\n"
)
CIFAR = (
    "data_preprocessor = dict(\n    mean=[\n        125.307,\n        122.961,\n        113.8575,\n    ],\n"
    "    std=[51.5865, 50.847, 51.255],\n    to_rgb=False)\n"
)
UNIT = (
    "img_norm_cfg = dict(mean=[0.5, 0.5, 0.5], std=[0.2, 0.2, 0.2])\n"
    "bbox_coder = dict(target_means=[9.0, 9.0, 9.0])\n"
)


def test_what_a_config_in_the_file_says_of_pixels_is_heeded(state: dict[str, Tensor], tmp_path: Path) -> None:
    def given(config: str) -> tuple[Any, ...]:
        loaded = read(saved(tmp_path, {"meta": {"config": config}, "state_dict": behind("backbone.", state)}))
        return loaded.input.mean, loaded.input.std, loaded.backbone.state_dict()["conv1.weight"]

    mean, std, first = given(CAFFE)
    assert (mean, std) == (IMAGENET_MEAN, (0.00392157,) * 3)
    assert torch.equal(first, state["conv1.weight"].flip(1))
    mean, std, first = given(CIFAR)  # its images are RGB in its files
    assert (mean, std) == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.201))
    assert torch.equal(first, state["conv1.weight"])
    assert given(UNIT)[:2] == given("")[:2] == (IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.slow
def test_the_strides_and_colours_of_detectors_are_those_that_the_file_says(tmp_path: Path) -> None:
    state = behind("backbone.", dict(trained("resnet50").state_dict()))
    pixels = {"mean": torch.tensor([103.53, 116.28, 123.675]), "std": torch.ones(3)}
    body = {"model": {"pixel_" + name: one.reshape(3, 1, 1) for name, one in pixels.items()} | state}
    for one in ({"meta": {"cfg": CAFFE}, "state_dict": state}, body):
        loaded = read(saved(tmp_path, one))
        assert (loaded.arch, loaded.input.mean) == ("resnet50_v1", IMAGENET_MEAN)
        assert {"stride in the 1x1: the file says so", "order bgr: the file says so"} <= set(
            loaded.report.assumed
        )
        assert read(saved(tmp_path, one), Flags(stride="3x3")).arch == "resnet50"


def test_two_equal_networks_are_one(state: dict[str, Tensor], tmp_path: Path) -> None:
    assert read(saved(tmp_path, {**behind("left.", state), **behind("right.", state)})).report.share == 1


def test_the_other_branch_can_be_asked_for(state: dict[str, Tensor], tmp_path: Path) -> None:
    chosen = read(kept("moco", state, tmp_path), Flags(layout="moco", prefix="module.encoder_k."))
    assert chosen.report.layout == "moco"
    torch.testing.assert_close(chosen.backbone.state_dict()["conv1.weight"], state["conv1.weight"] + 1)


@pytest.mark.case(9)
def test_a_wrong_layout_is_told_the_right_one(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(tmp_path, behind("encoder_q.", state))
    said = refused(path, Flags(layout="torchvision"))
    assert f"all {len(state)} keys" in said
    assert "start with encoder_q.: moco layout, pass --layout moco" in said


def test_an_unknown_layout_and_architecture_are_told_the_known(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = saved(tmp_path, state)
    with pytest.raises(Fault, match=r"unknown layout 'mocco'.*did you mean moco"):
        read(path, Flags(layout="mocco"))
    with pytest.raises(Fault, match=r"unknown arch 'resnet57'.*did you mean"):
        read(path, Flags(arch="resnet57"))


@pytest.mark.case(9)
def test_a_part_of_a_backbone_is_refused_and_can_be_taken(state: dict[str, Tensor], tmp_path: Path) -> None:
    part = {name: one for name, one in state.items() if not name.startswith("layer3.2.conv2")}
    path = saved(tmp_path, part)
    said = refused(path)
    assert "94 of 95 tensors: 1 missing (layer3.2.conv2.weight)" in said
    assert "--allow-partial 0.989" in said
    taken = read(path, Flags(allow_partial=0.989))
    assert taken.report.missing == ("layer3.2.conv2.weight",)
    assert taken.report.share == pytest.approx(94 / 95)
    assert "0.990 are asked for" in refused(path, Flags(allow_partial=0.99))


def test_a_tensor_of_another_shape_is_never_loaded(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(tmp_path, {**state, "layer1.0.conv1.weight": torch.ones(16, 8, 3, 3)})
    assert "1 of another shape (layer1.0.conv1.weight)" in refused(path)


def test_more_blocks_than_an_architecture_has_are_another_one(tmp_path: Path) -> None:
    """Every tensor of a ResNet-18 is in a ResNet-34, too."""
    deep = dict(trained("resnet34").state_dict())
    assert read(saved(tmp_path, deep)).arch == "resnet34"
    strange = {**deep, "layer1.3.conv1.weight": torch.ones(64, 64, 3, 3)}
    assert "1 unknown (layer1.3.conv1.weight)" in refused(saved(tmp_path, strange))


OTHERS: dict[str, tuple[dict[str, Tensor], str]] = {
    "dinov2": (head("cls_token", "pos_embed", "blocks.0.ls1.gamma"), "vision transformer of DINOv2"),
    "vit": (head("cls_token", "pos_embed", "blocks.0.attn.qkv.weight"), "a vision transformer"),
    "swin": (head("layers.0.blocks.0.attn.qkv.weight"), "a Swin transformer"),
    "convnext": (head("stages.0.0.gamma"), "a ConvNeXt"),
    "torchvision-convnext": (
        head("features.0.0.weight", "features.1.0.layer_scale"),
        "or a ConvNeXt of torchvision",
    ),
    "densenet": (head("features.denseblock1.denselayer1.norm1.weight"), "a DenseNet"),
    "transformers": (
        head("vit.embeddings.patch_embeddings.projection.weight"),
        "which are not read; save it",
    ),
    "linear": (head("linear.weight", "linear.bias"), "a linear classifier"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.case(9)
def test_another_network_is_named(name: str, tmp_path: Path) -> None:
    body, said = OTHERS[name]
    assert said in refused(saved(tmp_path, body))


def test_variants_of_a_resnet_are_not_taken_for_one(tmp_path: Path) -> None:
    import torchvision.models

    wide = torchvision.models.resnext50_32x4d(weights=None).state_dict()
    assert "of another shape" in refused(saved(tmp_path, wide))
    plain = dict(trained("resnet50").state_dict())
    attentive = {**plain, "layer1.0.se.fc1.weight": torch.ones(16, 256, 1, 1)}
    assert "squeeze-and-excitation" in refused(saved(tmp_path, attentive))
    first = plain.pop("conv1.weight")
    deep = {**plain, "conv1.0.weight": first, "conv1.3.weight": torch.ones(64, 64, 3, 3)}
    assert "deep stem" in refused(saved(tmp_path, deep))


def test_what_is_no_dict_of_tensors_is_named(tmp_path: Path) -> None:
    assert "it holds a list and no named tensors" in refused(saved(tmp_path, [torch.ones(2)]))
    assert "it holds a dict and no named tensors; expected a state_dict" in refused(saved(tmp_path, {}))
    assert "a dict with lr" in refused(saved(tmp_path, {"lr": 1, "epoch": 2}))


@pytest.mark.case(10)
def test_an_untrained_network_is_noticed(tmp_path: Path) -> None:
    from pretrain.data.view import Input
    from pretrain.nets.archs import build

    fresh = build("resnet18", Input(size=32, resize=32), 0)
    assert "untrained" in read(saved(tmp_path, dict(fresh.state_dict()))).report.warnings[0]


@pytest.mark.case(10)
def test_a_collapsed_network_is_noticed(tmp_path: Path) -> None:
    state = dict(trained("resnet20").state_dict())
    state["conv1.weight"] = state["conv1.weight"] * 1e-8  # whatever the image, the biases remain
    assert "collapsed" in read(saved(tmp_path, state)).report.warnings[0]


@pytest.mark.case(11)
def test_numbers_that_are_none_are_noticed(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(tmp_path, {**state, "conv1.weight": torch.full((16, 3, 3, 3), torch.nan)})
    assert "1 tensors hold what is no finite number" in read(path).report.warnings[0]


@pytest.mark.slow
def test_a_layout_of_the_users_own_is_found(state: dict[str, Tensor], tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    (tmp_path / "layouts").mkdir()
    (tmp_path / "layouts" / "mine.py").write_text(
        "from pretrain.nets.formats.contract import Layout\n"
        "LAYOUTS = (Layout(name='mine', title='mine', roots=('my_trunk.',), signs=('my_trunk',)),)\n"
    )
    path = saved(tmp_path, {**behind("my_trunk.", state), **behind("other.", other(state))})
    code = (
        "from pathlib import Path; from pretrain.nets.formats.reading import read; "
        f"print(read(Path({str(path)!r})).report.layout)"
    )
    env = {**os.environ, "ZOO_PLUGINS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.strip() == "mine", done.stderr
