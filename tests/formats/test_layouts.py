"""Every layout gives the network that was kept in it: equal features, one hash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from pretrain.base.faults import Fault
from pretrain.data.view import IMAGENET_STD
from pretrain.nets.formats.contract import Flags
from pretrain.nets.formats.reading import read
from tests.formats.naming import SOBEL, behind, head, lightning, sequential, training
from tests.formats.sources import LAYOUTS, kept, trained


@pytest.fixture(scope="module")
def real(sample: Callable[[str], Path]) -> dict[str, Tensor]:
    """A trained ResNet-20, under torchvision's names."""
    path = sample("ckpt-cifar-resnet") / "resnet20-12fca82f.th"
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {n.removeprefix("module."): t for n, t in state.items() if ".linear." not in n}


def literal(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Features of a CIFAR ResNet, written down from the paper: 3 stages, shortcuts of empty channels."""

    def norm(x: Tensor, name: str) -> Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))

    x = F.relu(norm(F.conv2d(x, state["conv1.weight"], padding=1), "bn1"))
    for stage in (1, 2, 3):
        for block in range(sum(n.startswith(f"layer{stage}.") and n.endswith("conv1.weight") for n in state)):
            at, step = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = F.relu(norm(F.conv2d(x, state[f"{at}.conv1.weight"], stride=step, padding=1), f"{at}.bn1"))
            out = norm(F.conv2d(out, state[f"{at}.conv2.weight"], padding=1), f"{at}.bn2")
            if step == 2:
                empty = torch.zeros_like(x[:, : x.shape[1] // 2, ::2, ::2])
                x = torch.cat([empty, x[:, :, ::2, ::2], empty], 1)
            x = F.relu(out + x)
    return x.mean((2, 3))


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_gives_the_network_that_was_kept(name: str, real: dict[str, Tensor], tmp_path: Path) -> None:
    loaded = read(kept(name, real, tmp_path))
    assert loaded.arch == "resnet20"
    assert loaded.report.layout == LAYOUTS[name][0]
    assert loaded.report.share == 1
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(loaded.backbone(x), literal(real, x), rtol=1e-6, atol=1e-6)
    assert loaded.sha256 == read(kept("plain", real, tmp_path)).sha256
    assert loaded.report.warnings == ()


def test_trained_files_are_read_as_they_were_published(sample: Callable[[str], Path]) -> None:
    for arch, name in (("resnet20", "resnet20-12fca82f.th"), ("resnet56", "resnet56-4bfd9763.th")):
        path = sample("ckpt-cifar-resnet") / name
        loaded = read(path)
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = literal({n.removeprefix("module."): t for n, t in state.items()}, x)
            torch.testing.assert_close(loaded.backbone(x), expected, rtol=1e-6, atol=1e-6)
        assert (loaded.arch, loaded.report.prefix) == (arch, "module.")
        assert len(loaded.report.ignored) == 2


@pytest.mark.parametrize("legacy", [False, True])
def test_every_container_of_torch_and_safetensors_is_read(
    legacy: bool, real: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(real, tmp_path / "a", _use_new_zipfile_serialization=not legacy)
    save_file(real, tmp_path / "b")
    assert read(tmp_path / "a").sha256 == read(tmp_path / "b").sha256


@pytest.mark.parametrize(
    "arch",
    [
        "resnet18",
        "resnet50",
        *(pytest.param(big, marks=pytest.mark.slow) for big in ("resnet34", "resnet101")),
    ],
)
def test_torchvisions_networks_have_equal_features(arch: str, tmp_path: Path) -> None:
    import torchvision.models

    torch.manual_seed(0)
    theirs = getattr(torchvision.models, arch)(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "x")
    loaded = read(tmp_path / "x")
    theirs.fc = nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.backbone(x), theirs(x), rtol=1e-6, atol=1e-6)
    assert (loaded.arch, loaded.report.layout) == (arch, "torchvision")
    assert "untrained" in loaded.report.warnings[0]


ALEXNET = [(96, 11, 4, 2), (256, 5, 1, 2), (384, 3, 1, 1), (384, 3, 1, 1), (256, 3, 1, 1)]
VGG = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]


def deepcluster(arch: str) -> nn.Module:
    """DeepCluster's network up to the last map, as its repository names the parts."""
    inside, made = 2, list[nn.Module]()
    layers = ALEXNET if arch == "alexnet" else [(n, 3, 1, 1) if n else () for n in VGG]
    for i, layer in enumerate(layers):
        if layer:
            made += [nn.Conv2d(inside, *layer), nn.BatchNorm2d(layer[0]), nn.ReLU()]
            inside = layer[0]
        if (arch == "alexnet" and i in (0, 1)) or not layer:
            made.append(nn.MaxPool2d(3 if arch == "alexnet" else 2, 2))
    net = nn.Module()
    net.sobel = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Conv2d(1, 2, 3, padding=1))
    net.sobel.load_state_dict(SOBEL)
    net.features = nn.Sequential(*(made[:-1] if arch == "vgg16_bn" else made))
    for one in net.modules():
        if isinstance(one, nn.BatchNorm2d) and one.running_mean is not None:
            one.running_mean.normal_().mul_(0.1)
    return net.eval()


@pytest.mark.parametrize("arch", ["alexnet", pytest.param("vgg16_bn", marks=pytest.mark.slow)])
def test_deepclusters_own_networks_keep_their_sobel_front_end(arch: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = deepcluster(arch)
    state = {n: t for n, t in net.state_dict().items() if "num_batches" not in n}
    state = {n.replace("features.", "features.module."): t for n, t in state.items()}
    torch.save(training({**state, **head("classifier.1.weight", "top_layer.weight")}), tmp_path / "x")
    loaded = read(tmp_path / "x")
    assert (loaded.arch, loaded.report.layout, loaded.input.sobel) == (arch, "deepcluster", True)
    x = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        expected = net.features(net.sobel(x)).mean((2, 3))
        torch.testing.assert_close(loaded.backbone(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("where", ["sobel_layer.sobel.", "backbone.sobel_layer.sobel.", None])
def test_a_resnet_of_two_channels_gets_its_sobel_front_end(where: str | None, tmp_path: Path) -> None:
    net = trained("resnet18", sobel=True)
    front = behind(where, SOBEL) if where else {}
    body = {**behind("backbone.", net.state_dict()), **front, **head("neck.fc0.weight")}
    torch.save({"meta": {}, "state_dict": body}, tmp_path / "x")
    loaded = read(tmp_path / "x")
    assert loaded.input.sobel
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.backbone(x), net(x), rtol=1e-6, atol=1e-6)
    if where:
        body[where + "1.weight"] = SOBEL["1.weight"] * 2
        torch.save({"meta": {}, "state_dict": body}, tmp_path / "x")
        with pytest.raises(Fault, match="Sobel front-end has other weights"):
            read(tmp_path / "x")


@pytest.mark.slow
def test_a_bottleneck_of_detectron2_is_read(tmp_path: Path) -> None:
    net = trained("resnet50")
    loaded = read(kept("detectron2", net.state_dict(), tmp_path))
    torch.save(dict(net.state_dict()), tmp_path / "same")
    assert loaded.arch == "resnet50"
    assert loaded.sha256 == read(tmp_path / "same").sha256


def caffe2(state: dict[str, Tensor]) -> dict[str, object]:
    """A ResNet of bottlenecks as Detectron kept it; statistics must be 0 and 1 - 1e-5."""
    letters = {"conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}
    letters |= {"bn1": "branch2a_bn", "bn2": "branch2b_bn", "bn3": "branch2c_bn"}
    made = {}
    for name, tensor in state.items():
        words, end = name.split("."), {"weight": "s", "bias": "b"}.get(name.split(".")[-1])
        if end is None:
            continue
        end = "w" if tensor.ndim == 4 else end
        if words[0] in ("conv1", "bn1"):
            made[{"conv1": "conv1_", "bn1": "res_conv1_bn_"}[words[0]] + end] = tensor.numpy()
            continue
        part = letters.get(words[2]) or ("branch1" if words[3] == "0" else "branch1_bn")
        made[f"res{int(words[0][-1]) + 1}_{words[1]}_{part}_{end}"] = tensor.numpy()
    return made


@pytest.mark.slow
def test_networks_of_msra_are_read_with_their_colours_and_strides(tmp_path: Path) -> None:
    import pickle

    net = trained("resnet50_v1")
    for one in net.modules():
        if isinstance(one, nn.BatchNorm2d) and one.running_mean is not None and one.running_var is not None:
            one.running_mean.zero_()
            one.running_var.fill_(1 - 1e-5)
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"blobs": caffe2(net.state_dict())}, protocol=2))
    loaded = read(tmp_path / "R-50.pkl")
    assert (loaded.arch, loaded.report.layout) == ("resnet50_v1", "detectron")
    pixels = torch.rand(1, 3, 64, 64)  # RGB
    given = loaded.input
    ours = (pixels - torch.tensor(given.mean)[:, None, None]) / torch.tensor(given.std)[:, None, None]
    theirs = pixels.flip(1) * 255 - torch.tensor([102.9801, 115.9465, 122.7717])[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(loaded.backbone(ours), net(theirs), rtol=1e-4, atol=1e-4)
    assert read(tmp_path / "R-50.pkl", Flags(stride="3x3")).arch == "resnet50"


def test_what_shapes_cannot_tell_has_a_default_and_a_flag(tmp_path: Path) -> None:
    net = trained("resnet18")
    state = {**net.state_dict(), **head("projection_head.0.weight", "prototypes.weight")}
    torch.save(behind("module.", state), tmp_path / "swav")
    loaded = read(tmp_path / "swav")
    assert loaded.input.std == (0.228, 0.224, 0.225)
    assert any("std 0.228/0.224/0.225: default of swav" in one for one in loaded.report.assumed)
    told = read(tmp_path / "swav", Flags(std=IMAGENET_STD, size=96, resize=110, order="bgr"))
    assert told.input.size == 96
    assert told.input.std == IMAGENET_STD[::-1]
    assert any("std 0.229/0.224/0.225: as told" in one for one in told.report.assumed)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(told.backbone(x), net(x.flip(1)), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_stride_of_a_bottleneck_is_a_flag(tmp_path: Path) -> None:
    state = trained("resnet50").state_dict()
    torch.save(dict(state), tmp_path / "x")
    early = read(tmp_path / "x", Flags(stride="1x1"))
    same = read(tmp_path / "x")
    assert (early.arch, same.arch) == ("resnet50_v1", "resnet50")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(early.backbone(x), same.backbone(x), atol=1e-3)
    torch.save(dict(trained("resnet18").state_dict()), tmp_path / "y")
    with pytest.raises(Fault, match="no bottleneck"):
        read(tmp_path / "y", Flags(stride="1x1"))


@pytest.mark.slow
def test_solo_learns_networks_for_cifar_pad_by_two(tmp_path: Path) -> None:
    import torchvision.models

    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None)
    theirs.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=2, bias=False)
    theirs.maxpool = theirs.fc = nn.Identity()
    state = {**behind("backbone.", theirs.eval().state_dict()), **head("projector.0.weight")}
    torch.save(lightning(state), tmp_path / "x")
    loaded = read(tmp_path / "x")
    assert loaded.arch == "resnet18_small_pad2"
    assert loaded.input.mean == (0.4914, 0.4822, 0.4465)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded.backbone(x), theirs(x), rtol=1e-5, atol=1e-5)
    assert read(tmp_path / "x", Flags(arch="resnet18_small")).arch == "resnet18_small"


def test_half_precision_becomes_single(real: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({n: t.half() if t.is_floating_point() else t for n, t in real.items()}, tmp_path / "x")
    loaded = read(tmp_path / "x")
    assert loaded.backbone.state_dict()["conv1.weight"].dtype is torch.float32
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded.backbone(x), literal(real, x), rtol=0.05, atol=0.05)


def test_a_name_in_the_middle_of_a_key_is_no_prefix(real: dict[str, Tensor], tmp_path: Path) -> None:
    """`module.` inside of `head.loss_module.` stays; so does a wrapper that only some keys have."""
    body = {**behind("module.backbone.", real), **head("module.head.loss_module.prototypes.weight")}
    torch.save({"meta": {}, "state_dict": body}, tmp_path / "x")
    loaded = read(tmp_path / "x")
    assert loaded.report.prefix == "module.backbone."
    assert loaded.report.ignored == ("state_dict.module.head.loss_module.prototypes.weight",)


def test_children_without_names_are_told_by_their_order(tmp_path: Path) -> None:
    net = trained("resnet18")
    torch.save(sequential(net.state_dict()), tmp_path / "x")
    assert read(tmp_path / "x").arch == "resnet18"


def test_every_layout_flag_and_target_is_documented() -> None:
    from pretrain.nets.formats.candidates import layouts
    from pretrain.nets.formats.exporting import ARCHS

    text = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text()
    flags = [f"--{name.replace('_', '-')}" for name in Flags.__dataclass_fields__]
    assert not [one for one in (*(f"`{name}`" for name in layouts()), *flags, *ARCHS) if one not in text]
