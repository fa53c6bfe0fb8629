"""Exports are read by whom they are for, and come back as the same network."""

from __future__ import annotations

import importlib.util
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pretrain.base.faults import Fault
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.formats.contract import Flags, Loaded, Report
from pretrain.nets.formats.exporting import ARCHS, export
from pretrain.nets.formats.reading import hashed, read
from tests.formats.naming import detectron2
from tests.formats.sources import trained

GIVEN = Input(size=64, resize=72, std=(0.228, 0.224, 0.225))


def loaded(arch: str, sobel: bool = False, missing: tuple[str, ...] = ()) -> Loaded:
    net = trained(arch, sobel=sobel)
    for name, buffer in net.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.zero_()
    names = tuple(name for name in net.state_dict() if name not in missing)
    report = Report("plain", "", "", len(net.state_dict()), names, missing)
    given = Input(size=64, resize=72, std=GIVEN.std, sobel=sobel)
    net.input = given
    return Loaded(net, arch, given, report, hashed(net))


@pytest.mark.parametrize("to", [to for to in ARCHS if to != "onnx"])
def test_a_network_comes_back_as_it_went(to: str, tmp_path: Path) -> None:
    given = loaded("resnet18")
    export(given, tmp_path / "x", to, {"layout": "plain"})
    back = read(tmp_path / "x")
    assert back.sha256 == given.sha256
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(back.backbone(x), given.backbone(x), rtol=1e-6, atol=1e-6)
    if to in ("ours", "safetensors"):
        assert back.input == GIVEN
    if to in ("mmdet", "mmseg"):
        assert (back.input.mean, back.input.std) == (GIVEN.mean, GIVEN.std)


@pytest.mark.parametrize(
    "arch", ["resnet18", *(pytest.param(big, marks=pytest.mark.slow) for big in ("resnet50", "vgg16_bn"))]
)
def test_torchvision_reads_what_is_for_it(arch: str, tmp_path: Path) -> None:
    import torchvision.models

    given = loaded(arch)
    for name in ("x.pth", "x.safetensors"):
        export(given, tmp_path / name, "torchvision", {})
    theirs = getattr(torchvision.models, arch)(weights=None)
    state = torch.load(tmp_path / "x.pth", weights_only=True)
    assert set(load_file(tmp_path / "x.safetensors")) == set(state)
    keys = theirs.load_state_dict(state, strict=False)
    assert keys.unexpected_keys == []
    assert all(name.startswith(("fc.", "classifier.")) for name in keys.missing_keys)
    net = nn.Sequential(*theirs.features[:-1]) if arch == "vgg16_bn" else theirs
    if arch != "vgg16_bn":
        theirs.fc = nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        out = net.eval()(x)
        out = out.mean((2, 3)) if out.ndim == 4 else out
        torch.testing.assert_close(given.backbone(x), out, rtol=1e-6, atol=1e-6)


def test_detectron2_reads_names_that_were_written_down_one_by_one(tmp_path: Path) -> None:
    given = loaded("resnet50")
    export(given, tmp_path / "x.pkl", "detectron2", {})
    body = pickle.loads((tmp_path / "x.pkl").read_bytes())
    expected = detectron2(given.backbone.state_dict())
    assert body["matching_heuristics"] is True
    assert body["model"].keys() == expected.keys()
    assert all((body["model"][name] == expected[name]).all() for name in expected)


@pytest.mark.parametrize("arch", ["resnet18", "alexnet"])
def test_a_sobel_front_end_goes_where_it_can_and_nowhere_else(arch: str, tmp_path: Path) -> None:
    given = loaded(arch, sobel=True)
    x = torch.randn(2, 3, 128, 128)
    for to in ("ours", "safetensors"):
        export(given, tmp_path / to, to, {})
        back = read(tmp_path / to)
        assert back.input == given.input
        assert back.sha256 == given.sha256
        with torch.no_grad():
            torch.testing.assert_close(back.backbone(x), given.backbone(x), rtol=1e-6, atol=1e-6)
    for to in ("torchvision", "timm", "mmdet", "mmseg", "detectron2"):
        with pytest.raises(Fault, match=r"Sobel front-end|it has no alexnet") as raised:
            export(given, tmp_path / "refused", to, {})
        assert raised.value.reason == "bad-config"
    assert not (tmp_path / "refused").exists()


def test_what_a_target_cannot_run_is_refused(tmp_path: Path) -> None:
    for arch, to in (("resnet20", "torchvision"), ("resnet50_v1", "timm"), ("resnet18_small_pad2", "mmdet")):
        with pytest.raises(Fault, match=f"--to {to}: it has no {arch}"):
            export(loaded(arch), tmp_path / "x", to, {})
    with pytest.raises(Fault, match="unknown target 'mmdetection'"):
        export(loaded("resnet20"), tmp_path / "x", "mmdetection", {})
    with pytest.raises(Fault, match=r"only 0\.982 of the backbone"):
        export(loaded("resnet20", missing=("conv1.weight", "bn1.bias")), tmp_path / "x", "safetensors", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arch",
    [
        *(pytest.param(big, marks=pytest.mark.slow) for big in ("resnet50_v1", "resnet18_small_pad2")),
        "resnet20",
    ],
)
def test_safetensors_keeps_what_shapes_cannot_tell(arch: str, tmp_path: Path) -> None:
    given = loaded(arch)
    export(given, tmp_path / "x", "safetensors", {})
    back = read(tmp_path / "x")
    assert (back.arch, back.input, back.sha256) == (arch, GIVEN, given.sha256)
    assert read(tmp_path / "x", Flags(size=96)).input == replace(GIVEN, size=96, resize=96)


def test_ours_is_written_as_every_file_of_ours(tmp_path: Path) -> None:
    export(loaded("resnet20"), tmp_path / "x", "ours", {"layout": "plain", "file": "y"})
    assert checkpoint.describe(tmp_path / "x").origin == {"layout": "plain", "file": "y"}


def test_the_reader_is_told_what_no_file_says(tmp_path: Path) -> None:
    told = export(loaded("resnet50_v1"), tmp_path / "x", "detectron2", {})
    assert "STRIDE_IN_1X1 True" in told[0]
    assert "std [58.140, 57.120, 57.375]" in told[0]
    told = export(loaded("resnet50"), tmp_path / "x", "mmseg", {})
    assert "ResNetV1c is another" in told[0]


def test_onnx_has_equal_features_or_says_what_it_needs(tmp_path: Path) -> None:
    given = loaded("resnet18", sobel=True)
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript")):
        with pytest.raises(Fault, match="pip install onnx onnxscript") as raised:
            export(given, tmp_path / "x.onnx", "onnx", {})
        assert raised.value.reason == "dependency-missing"
        return
    export(given, tmp_path / "x.onnx", "onnx", {})
    onnx = importlib.import_module("onnx.reference")
    x = torch.randn(3, 3, 64, 64)
    (out,) = onnx.ReferenceEvaluator(str(tmp_path / "x.onnx")).run(None, {"images": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(out), given.backbone(x), rtol=1e-4, atol=1e-4)


def test_timm_reads_what_is_for_it(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    given = loaded("resnet18")
    export(given, tmp_path / "x.safetensors", "timm", {})
    theirs = timm.create_model("resnet18", num_classes=0)
    theirs.load_state_dict(load_file(tmp_path / "x.safetensors"))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(given.backbone(x), theirs.eval()(x), rtol=1e-6, atol=1e-6)
