"""A weights file loads strictly, is verified, and says what it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pretrain.base.faults import Fault
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import ARCHS, build
from pretrain.nets.formats.contract import Flags
from pretrain.nets.formats.reading import read
from zoo.suites import builtin
from zoo.weights import publish

GIVEN = Input(size=32, resize=36, std=(0.228, 0.224, 0.225), sobel=True)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "backbone.safetensors"
    checkpoint.save(path, build("resnet10_narrow", GIVEN, 3), "resnet10_narrow", {"recipe": "r"})
    return path


def test_weights_and_preprocessing_come_back(saved: Path) -> None:
    loaded = checkpoint.load(saved)
    assert loaded.input == GIVEN
    expected = build("resnet10_narrow", GIVEN, 3).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def test_equal_weights_have_equal_hashes_whatever_the_file(saved: Path, tmp_path: Path) -> None:
    other = checkpoint.save(
        tmp_path / "b", build("resnet10_narrow", GIVEN, 3), "resnet10_narrow", {"recipe": "s"}
    )
    assert other.sha256 == checkpoint.describe(saved).sha256
    assert checkpoint.weights_hash(build("resnet10_narrow", GIVEN, 4).state_dict()) != other.sha256


@pytest.mark.case(11)
def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    net = build("resnet10_narrow", GIVEN, 3)
    with torch.no_grad():
        next(net.parameters())[0] = torch.nan
    with pytest.raises(
        Fault, match=r"weights of r: 'conv1\.weight' is not finite; nothing was saved"
    ) as raised:
        checkpoint.save(tmp_path / "b", net, "resnet10_narrow", {"recipe": "r"})
    assert raised.value.reason == "nan"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.case(5)
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(Fault) as raised:
        checkpoint.load(saved)
    assert raised.value.reason == "weights-corrupt"


@pytest.mark.case(6)
def test_a_flipped_bit_is_noticed(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[-1000] ^= 1
    saved.write_bytes(bytes(data))
    with pytest.raises(Fault, match="weights hash"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>403</html>" * 10, "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git-LFS"),
        (b"PK\x03\x04 zip", "torch.save"),
        (b"\x80\x04}\x94. more of it", "a pickle"),
        (b"", "empty or truncated"),
    ],
)
@pytest.mark.case(8, 34)
def test_what_is_not_a_checkpoint_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(Fault, match=said):
        checkpoint.describe(tmp_path / "x")


@pytest.mark.parametrize("change", ["drop", "rename", "reshape"])
@pytest.mark.case(9)
def test_every_tensor_must_match(saved: Path, change: str) -> None:
    state = load_file(saved)
    header = json.loads(saved.read_bytes()[8 : 8 + int.from_bytes(saved.read_bytes()[:8], "little")])[
        "__metadata__"
    ]
    tensor = state.pop("layer1.0.conv1.weight")
    if change == "rename":
        state["backbone.layer1.0.conv1.weight"] = tensor
    if change == "reshape":
        state["layer1.0.conv1.weight"] = tensor[:1].clone()
    save_file(state, saved, header)
    with pytest.raises(Fault, match=r"layer1\.0\.conv1\.weight") as raised:
        checkpoint.load(saved)
    assert raised.value.reason == "weights-mismatch"


@pytest.mark.slow
def test_resnet50_is_torchvisions() -> None:
    """Same names, same numbers: weights of this zoo load anywhere."""
    from torchvision.models import resnet50

    ours, theirs = build("resnet50", Input(size=64, resize=64), 0).eval(), resnet50(weights=None).eval()
    missing = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert missing.missing_keys == ["fc.weight", "fc.bias"]
    assert missing.unexpected_keys == []
    theirs.fc = torch.nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
    assert ours.dims == [64, 256, 512, 1024, 2048]
    assert sum(p.numel() for p in ours.parameters()) == 23_508_032


def test_sobel_front_end_equals_its_two_convolutions() -> None:
    from pretrain.nets.sobel import Sobel

    gray, edges = torch.nn.Conv2d(3, 1, 1, bias=False), torch.nn.Conv2d(1, 2, 3, padding=1, bias=False)
    gray.weight.data.fill_(1 / 3)
    edges.weight.data[0, 0] = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    edges.weight.data[1, 0] = torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]])
    x = torch.randn(2, 3, 9, 7)
    torch.testing.assert_close(Sobel()(x), edges(gray(x)))


@pytest.mark.parametrize("arch", sorted(ARCHS))
def test_an_architecture_keeps_its_contract(arch: str) -> None:
    with torch.device("meta"):  # shapes alone: some have 400 million weights
        backbone = build(arch, Input(size=64, resize=64), 0).eval()
        x = torch.randn(1, 3, 64, 64)
        maps = backbone.stages(x)
        assert [m.shape[1] for m in maps] == backbone.dims
        assert len(maps) == 5
        assert backbone(x).shape == (1, backbone.dim)


@pytest.mark.case(14)
def test_a_name_that_is_no_text_is_not_called_damage_and_refused_before_any_work(saved: Path) -> None:
    odd = saved.rename(saved.with_name("\udcff.safetensors"))
    looks = [checkpoint.describe, checkpoint.load, lambda path: read(path, Flags()), publish.vacant]
    for look in [*looks, lambda path: builtin.home("demo", path)]:
        with pytest.raises(Fault, match="this name is no UTF-8, and weights could not be read there; rename"):
            look(odd)
