"""Our architectures have the published numbers of weights, and read what torchvision wrote of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from benchmarks.contract.protocol import catalogue
from pretrain.base.faults import Fault
from pretrain.data.view import Input
from pretrain.nets import archs
from pretrain.nets.formats.reading import read

# torchvision's, without the classifier; of CIFAR (He et al. 2016, table 6: 0.27, 0.46, 0.66 and 0.85 million)
# without the 650 of theirs.
PUBLISHED = {
    "resnet18": 11_176_512,
    "resnet34": 21_284_672,
    "resnet50": 23_508_032,
    "resnet101": 42_500_160,
    "resnet20": 269_722 - 650,
    "resnet32": 464_154 - 650,
    "resnet44": 658_586 - 650,
    "resnet56": 853_018 - 650,
}


@pytest.mark.parametrize("arch", PUBLISHED)
def test_an_architecture_has_as_many_weights_as_published(arch: str) -> None:
    with torch.device("meta"):
        net = archs.build(arch, Input(size=32, resize=32), 0)
    assert sum(p.numel() for p in net.parameters()) == PUBLISHED[arch]


@pytest.mark.parametrize("arch", ["resnet34", "resnet101"])
def test_names_and_shapes_are_torchvisions(arch: str) -> None:
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        ours = archs.build(arch, Input(size=64, resize=64), 0).state_dict()
        theirs = models.get_model(arch, weights=None).state_dict()
    assert {n: t.shape for n, t in ours.items()} == {
        n: t.shape for n, t in theirs.items() if n.split(".")[0] != "fc"
    }


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["resnet34", "resnet101"])
def test_a_file_of_torchvisions_is_read_as_its_network(arch: str, tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    theirs = models.get_model(arch, weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    loaded = read(tmp_path / "x.pth")
    theirs.fc = torch.nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    assert (loaded.arch, loaded.report.share) == (arch, 1)
    with torch.no_grad():
        torch.testing.assert_close(loaded.backbone(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("arch", ["resnet34", "resnet101"])
def test_detectors_and_segmenters_run_every_depth(arch: str) -> None:
    assert not [name for name, one in catalogue("paper").items() if one.unfit(arch)]


def test_without_timm_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(Fault, match="timm:test_vit needs the package timm; run `pip install timm`") as raised:
        archs.build("timm:test_vit", Input(size=32, resize=32), 0)
    assert raised.value.reason == "dependency-missing"


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("resnet51", "did you mean resnet"),
        ("vit", "timm:NAME"),
        ("foreign:mine", "cannot be built by name"),
    ],
)
def test_another_name_is_a_fault_in_one_sentence(arch: str, said: str) -> None:
    with pytest.raises(Fault, match=said) as raised:
        archs.build(arch, Input(size=32, resize=32), 0)
    assert raised.value.reason == "bad-config"
