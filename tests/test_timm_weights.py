"""Weights of timm's networks: files are read and exported, timm's own are fetched once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pretrain.base.faults import Fault
from pretrain.nets import checkpoint
from pretrain.nets.formats.adopting import adopted, fetched
from pretrain.nets.formats.contract import Flags
from pretrain.nets.formats.exporting import export
from pretrain.nets.formats.reading import read
from tests import scenes
from zoo import request as requests
from zoo.engines import inline
from zoo.engines.engine import Orders
from zoo.plan.planner import Planner
from zoo.show import explain
from zoo.show.progress import Display
from zoo.suites.suite import Given

timm = pytest.importorskip("timm")


def own(name: str, seed: int = 0) -> Any:
    """timm's network with drawn statistics, so that it does not look untrained."""
    torch.manual_seed(seed)
    return timm.create_model(name, num_classes=10).eval()


def test_a_file_of_timms_is_read_by_its_network(tmp_path: Path) -> None:
    theirs = own("test_vit")
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    place = adopted(tmp_path / "x.pth", tmp_path, Flags(arch="timm:test_vit"))
    meta, net = checkpoint.describe(place), checkpoint.load(place)
    assert (meta.arch, meta.input.size, meta.origin["layout"]) == ("timm:test_vit", 160, "timm")
    assert any("bicubic" in line for line in meta.origin["assumed"])
    x = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        assert torch.equal(net(x), theirs.forward_head(theirs.forward_features(x), pre_logits=True))


def test_what_is_told_goes_before_timms_config(tmp_path: Path) -> None:
    theirs = own("test_resnet")
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    told = Flags(arch="timm:test_resnet", size=32, mean=(0.1, 0.2, 0.3), order="bgr")
    net = read(tmp_path / "x.pth", told).backbone
    assert (net.input.size, net.input.mean) == (32, (0.3, 0.2, 0.1))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        want = theirs.forward_head(theirs.forward_features(x.flip(1)), pre_logits=True)
        torch.testing.assert_close(net(x), want)


def test_the_teacher_of_a_file_is_taken_and_other_prefixes_on_demand(tmp_path: Path) -> None:
    teacher, student = (
        {f"module.{k}": v for k, v in own("test_vit", s).state_dict().items()} for s in (1, 2)
    )
    torch.save({"student": student, "teacher": teacher, "epoch": 3}, tmp_path / "x.pth")
    loaded = read(tmp_path / "x.pth", Flags(arch="timm:test_vit"))
    assert (loaded.report.within, loaded.report.prefix, loaded.report.share) == ("teacher", "module.", 1)
    assert torch.equal(loaded.backbone.state_dict()["net.cls_token"], teacher["module.cls_token"])
    with pytest.raises(Fault, match=r"no timm:test_vit behind 'encoder\.' among"):
        read(tmp_path / "x.pth", Flags(arch="timm:test_vit", prefix="encoder."))


@pytest.mark.parametrize(
    ("best", "worse"),
    [
        ("teacher.backbone.", "student.backbone."),
        ("model_ema.module.", "model."),
        ("module.encoder_q.", "module.encoder_k."),
        ("module.base_encoder.", "module.momentum_encoder."),
        ("backbone.", "backbone_momentum."),
    ],
)
def test_of_two_copies_in_one_dict_the_one_to_evaluate_is_taken(
    best: str, worse: str, tmp_path: Path
) -> None:
    first, second = (own("test_vit", seed).state_dict() for seed in (1, 2))
    body = {**{worse + k: v for k, v in second.items()}, **{best + k: v for k, v in first.items()}}
    torch.save({"state_dict": body}, tmp_path / "x.pth")
    loaded = read(tmp_path / "x.pth", Flags(arch="timm:test_vit"))
    assert loaded.report.prefix == best
    assert torch.equal(loaded.backbone.state_dict()["net.cls_token"], first["cls_token"])


@pytest.mark.slow
def test_what_no_shape_tells_of_a_vision_transformer_is_said(tmp_path: Path) -> None:
    """MoCo v3's ViT-S has twice timm's heads; timm's mean is that of its own weights, a tag says whose."""
    state, name = own("vit_small_patch16_224").state_dict(), "timm:vit_small_patch16_224"
    torch.save({"state_dict": {f"module.base_encoder.{k}": v for k, v in state.items()}}, tmp_path / "x.pth")
    report = read(tmp_path / "x.pth", Flags(arch=name)).report
    assert report.warnings == (
        "a ViT-S of MoCo v3's repository has 12 heads and timm's 6: its features are others here",
    )
    assert "mean 0.5/0.5/0.5: timm, for its weights augreg_in21k_ft_in1k" in report.assumed
    torch.save({"teacher": {f"backbone.{k}": v for k, v in state.items()}}, tmp_path / "x.pth")
    loaded = read(tmp_path / "x.pth", Flags(arch=f"{name}.dino"))
    assert (loaded.report.warnings, loaded.input.mean) == ((), (0.485, 0.456, 0.406))


def test_a_dict_of_the_file_is_a_prefix_too(tmp_path: Path) -> None:
    first, second = (own("test_vit", seed).state_dict() for seed in (1, 2))
    torch.save({"model": first, "model_ema": second}, tmp_path / "x.pth")
    assert read(tmp_path / "x.pth", Flags(arch="timm:test_vit")).report.within == "model_ema"
    assert read(tmp_path / "x.pth", Flags(arch="timm:test_vit", prefix="model.")).report.within == "model"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({}, "--arch timm:NAME reads it"),
        ({"layout": "timm"}, "needs --arch timm:NAME"),
        ({"arch": "timm:test_vit2"}, "75 of the 118 tensors of timm:test_vit2"),
        ({"arch": "timm:test_convnext"}, "no timm:test_convnext among its 80 tensors"),
        ({"arch": "timm:test_vit", "stride": "1x1"}, "--stride"),
        ({"arch": "timm:test_vit", "resize": 8}, "resize 8: a centre crop"),
        ({"arch": "timm:test_vit", "layout": "swav"}, "--layout swav"),
    ],
)
def test_another_network_is_named_in_one_sentence(tmp_path: Path, flags: dict[str, Any], said: str) -> None:
    torch.save(own("test_vit").state_dict(), tmp_path / "x.pth")
    with pytest.raises(Fault, match=said):
        read(tmp_path / "x.pth", Flags(**flags))


def test_a_part_is_taken_when_it_is_said_so(tmp_path: Path) -> None:
    state = own("test_vit").state_dict()
    del state["norm.weight"]
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(Fault, match=r"1 missing \(norm.weight\)"):
        read(tmp_path / "x.pth", Flags(arch="timm:test_vit"))
    loaded = read(tmp_path / "x.pth", Flags(arch="timm:test_vit", allow_partial=0.9))
    assert loaded.report.missing == ("norm.weight",)


@pytest.mark.parametrize("to", ["timm", "safetensors", "ours"])
def test_what_is_exported_is_read_again(tmp_path: Path, to: str) -> None:
    theirs = own("test_convnext")
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    loaded = read(tmp_path / "x.pth", Flags(arch="timm:test_convnext"))
    export(loaded, tmp_path / "y.safetensors", to, {})
    flags = Flags(arch="timm:test_convnext") if to == "timm" else Flags()
    if to == "timm":
        assert load_file(tmp_path / "y.safetensors").keys() <= theirs.state_dict().keys()
    assert read(tmp_path / "y.safetensors", flags).sha256 == loaded.sha256
    with pytest.raises(Fault, match="--to mmdet: it has no timm:test_convnext"):
        export(loaded, tmp_path / "z", "mmdet", {})


def test_timms_own_weights_need_a_network_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(Fault, match="pretrained weights of timm:test_vit cannot be had") as raised:
        fetched("timm:test_vit", tmp_path)
    assert raised.value.reason == "data-missing"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The cache of the hub, without a network, with the weights of one network in it."""
    from huggingface_hub import constants

    theirs, place = own("test_vit.r160_in1k", 5), tmp_path / "hub" / "models--timm--test_vit.r160_in1k"
    theirs.reset_classifier(1000)
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("a" * 40)
    (place / "snapshots" / ("a" * 40)).mkdir(parents=True)
    save_file(theirs.state_dict(), place / "snapshots" / ("a" * 40) / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return theirs


def test_a_name_of_timms_is_a_model_with_its_own_weights(
    tmp_path: Path, hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = scenes.folder(tmp_path / "images", per_class=4)
    (tmp_path / "own.toml").write_text(f"variant = 'smoke'\nbeside = []\n[data]\nimagenet = '{images}'\n")
    words = (["timm:test_vit"], ["imagenet_knn"], str(tmp_path / "own.toml"), tmp_path / "out", [])
    asked = requests.resolve(*words)
    (given,) = asked.entries
    assert isinstance(given, Given)
    assert given.path is not None
    assert (given.name, asked.asked) == ("timm-test_vit", {"timm-test_vit"})
    meta = checkpoint.describe(given.path)
    assert (meta.arch, meta.input.size, meta.recipe) == ("timm:test_vit", 160, "timm:test_vit")
    assert any("timm/test_vit.r160_in1k" in line for line in meta.origin["assumed"])
    state = checkpoint.load(given.path).state_dict()
    assert torch.equal(state["net.pos_embed"], hub.state_dict()["pos_embed"])
    planner = Planner(asked)
    made = inline.run(planner.plan(), planner, Orders(), Display(2))
    assert [job.state for job in made] == ["done", "done"]
    monkeypatch.setattr("timm.create_model", None)  # the second time, the file is there
    assert requests.resolve(*words).entries == [given]


def test_a_name_of_timms_is_explained(tmp_path: Path, hub: Any, capsys: pytest.CaptureFixture[str]) -> None:
    images = scenes.folder(tmp_path / "images", per_class=4)
    (tmp_path / "own.toml").write_text(f"variant = 'smoke'\nbeside = []\n[data]\nimagenet = '{images}'\n")
    words = (["imagenet_knn"], str(tmp_path / "own.toml"), tmp_path / "out", [])
    explain.show(Planner(requests.about("timm:test_vit", *words)).plan(), "imagenet_knn")
    assert capsys.readouterr().out.startswith("timm-test_vit imagenet_knn: todo (not computed yet)\n")
