"""A published folder: others load its weights, its transform is ours, and no doubtful weights are in it."""

from __future__ import annotations

import hashlib
import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.contract.protocol import catalogue
from pretrain.base.faults import Fault
from pretrain.data.augment import crop, normalise
from pretrain.data.image import rgb
from pretrain.data.view import Input, centre_view
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from pretrain.nets.formats.contract import Flags
from pretrain.nets.formats.reading import read
from pretrain.nets.sobel import Sobel
from tests.formats.sources import trained
from tests.publishing import GIVEN, published, trained_home
from tests.reports.store import CARD, benchmark, pretraining
from zoo.weights.bundle import transform
from zoo.weights.publish import Subject, chosen, publish


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network, published; nobody changes it."""
    return published(tmp_path_factory.mktemp("published"))


def pth(out: Path) -> Path:
    (found,) = out.glob("*.pth")
    return found


@pytest.mark.slow
def test_torchvision_loads_a_resnet50_strictly_but_for_its_classifier(tmp_path: Path) -> None:
    import torchvision

    found = pth(published(tmp_path, "resnet50"))
    theirs = torchvision.models.resnet50()
    keys = theirs.load_state_dict(torch.load(found, weights_only=True), strict=False)
    assert (keys.missing_keys, keys.unexpected_keys) == (["fc.weight", "fc.bias"], [])
    theirs.fc = torch.nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = checkpoint.load(tmp_path / "net.safetensors")(x)
        torch.testing.assert_close(theirs.eval()(x), expected, rtol=1e-5, atol=1e-5)


def test_the_pth_ends_in_the_hash_of_its_bytes(out: Path) -> None:
    """As torch.hub checks it."""
    assert pth(out).name == f"net-{hashlib.sha256(pth(out).read_bytes()).hexdigest()[:8]}.pth"


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["resnet18", "resnet20"])
def test_both_files_are_the_same_weights(arch: str, tmp_path: Path) -> None:
    out = published(tmp_path, arch)
    whole, plain = read(out / "model.safetensors"), read(pth(out), Flags(arch=arch))
    assert whole.sha256 == plain.sha256 == checkpoint.describe(tmp_path / "net.safetensors").sha256
    assert whole.input == GIVEN


def test_equal_weights_are_equal_files(out: Path, tmp_path: Path) -> None:
    assert listed(published(tmp_path)) == listed(out)


def listed(out: Path) -> dict[str, str]:
    """SHA-256 of every file, as the manifest has them."""
    return {one["name"]: one["sha256"] for one in json.loads((out / "manifest.json").read_text())["files"]}


def test_the_manifest_says_what_is_there_and_where_it_is_from(out: Path) -> None:
    body = json.loads((out / "manifest.json").read_text())
    listed = {one["name"]: one for one in body["files"]}
    assert {*listed, "manifest.json"} == {path.name for path in out.iterdir()}
    for name, one in listed.items():
        content = (out / name).read_bytes()
        assert (one["bytes"], one["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert {"model.safetensors", "README.md", "transform.py", "metafile.yml", "model-index.yml"} < set(listed)
    assert body["source"]["file"] == "net.safetensors"
    assert body["source"]["origin"]["seed"] == 3
    assert body["weights_sha256"] == read(out / "model.safetensors").sha256


def test_a_file_from_elsewhere_is_read_as_told(tmp_path: Path) -> None:
    """A student beside another network, pixels of its own: the manifest says what was told and assumed."""
    state = trained("resnet18").state_dict()
    other = {f"b.{name}": one + 1 for name, one in state.items()}
    torch.save({**{f"a.{name}": one for name, one in state.items()}, **other}, tmp_path / "two.pth")
    argv = [sys.executable, "-m", "zoo", "publish", str(tmp_path / "two.pth"), "--out", str(tmp_path / "out")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100)
    assert done.returncode != 0
    assert "--layout plain --prefix 'a.'" in done.stderr
    told = ["--layout", "plain", "--prefix", "a.", "--mean", "0.5,0.5,0.5", "--size", "96", "--resize", "112"]
    done = subprocess.run([*argv, *told], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out" / "model.safetensors")
    torch.testing.assert_close(found.backbone.state_dict()["conv1.weight"], state["conv1.weight"])
    assert (found.input.mean, found.input.size, found.input.resize) == ((0.5, 0.5, 0.5), 96, 112)
    origin = json.loads((tmp_path / "out" / "manifest.json").read_text())["source"]["origin"]
    assert origin["flags"]["prefix"] == "a."
    assert "size 96: as told" in origin["assumed"]
    page = (tmp_path / "out" / "README.md").read_text()
    assert "| Layout | plain |" in page
    assert "mean 0.5/0.5/0.5: as told; std 0.229/0.224/0.225: default of plain" in page


def test_a_part_of_a_backbone_is_not_published(tmp_path: Path) -> None:
    """None of the files could say so to other programs."""
    state = {n: one for n, one in trained("resnet18").state_dict().items() if not n.startswith("layer4.1.")}
    torch.save(state, tmp_path / "part.pth")
    subject = replace(chosen(str(tmp_path / "part.pth"), "demo", None), flags=Flags(allow_partial=0.8))
    with pytest.raises(Fault, match=r"only 0\.900 of the backbone was in the file"):
        publish(subject, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("sobel", [False, True])
def test_the_transform_is_ours(sobel: bool, tmp_path: Path) -> None:
    """Odd sides, lying on its side by EXIF, and with a palette: the same pixels."""
    transform(tmp_path, "net", Input(size=64, resize=72, std=GIVEN.std, sobel=sobel))
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 256, (123, 87, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    image.quantize(16).save(tmp_path / "palette.png")
    theirs = runpy.run_path(str(tmp_path / "transform.py"))["transform"]
    for name in ("turned.png", "palette.png"):
        pixels = crop(rgb(tmp_path / name), centre_view(GIVEN), np.zeros(0))
        expected = normalise(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255, GIVEN)
        expected = Sobel()(expected) if sobel else expected
        made = theirs(Image.open(tmp_path / name))
        torch.testing.assert_close(made, expected[0], rtol=0, atol=1e-5 if sobel else 1e-6)


def test_a_sobel_network_has_no_bare_dict(tmp_path: Path) -> None:
    """Nothing but our own format says that edges stand before it."""
    out = published(tmp_path, sobel=True)
    assert not list(out.glob("*.pth"))
    assert read(out / "model.safetensors").input.sobel


def test_only_a_folder_without_other_files_is_written(tmp_path: Path) -> None:
    out = published(tmp_path)
    subject = chosen(str(tmp_path / "net.safetensors"), "demo", None)
    publish(subject, out)  # once more
    (out / "mine.txt").write_text("kept")
    with pytest.raises(Fault, match=r"holds other files \(mine.txt\); name a new folder") as caught:
        publish(subject, out)
    assert caught.value.reason == "bad-config"
    assert (out / "mine.txt").read_text() == "kept"
    with pytest.raises(Fault, match="is no folder"):
        publish(subject, tmp_path / "net.safetensors")


def test_a_publication_that_fails_leaves_nothing(tmp_path: Path) -> None:
    out = published(tmp_path)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    bad = Subject("bad", tmp_path / "bad.pth", {}, {})
    bad.weights.write_text("<html>")
    with pytest.raises(Fault, match="a web page"):
        publish(bad, out)
    net = trained("resnet10_narrow")
    net.bn1.running_mean.fill_(float("nan"))  # type: ignore[operator, union-attr]
    torch.save(net.state_dict(), bad.weights)
    with pytest.raises(Fault, match=r"'bn1\.running_mean' is not finite; nothing was published"):
        publish(bad, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"net.safetensors", "out", "bad.pth"}


def test_weights_that_the_records_are_not_of_are_refused(tmp_path: Path) -> None:
    home = trained_home(tmp_path / "home")
    pretraining(home, "odc", facts={"card": CARD, "weights": {"weights": "f" * 64}})
    with pytest.raises(Fault, match="its records are of ffffffffffff") as caught:
        publish(chosen("odc", "smoke", home), tmp_path / "out")
    assert caught.value.reason == "weights-mismatch"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("od", "unknown model 'od'.*did you mean odc"),
        ("no/such.pth", "is no file, and .* holds no such model"),
    ],
)
def test_what_is_neither_a_model_nor_a_file_is_refused(model: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Fault, match=said):
        chosen(model, "smoke", trained_home(tmp_path / "home"))


def test_a_model_that_was_given_is_asked_for_its_file(tmp_path: Path) -> None:
    home = trained_home(tmp_path / "home")
    benchmark(home, catalogue("smoke")["imagenet_linear"], {"AvgPool_top1": 41.234}, "mine.pth", n=300)
    with pytest.raises(Fault, match=r"numbers of 'mine\.pth'.*zoo publish FILE --name mine"):
        chosen("mine.pth", "smoke", home)


def test_a_push_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.weights import pushing

    with pytest.raises(Fault, match="expected ORG/NAME"):
        pushing.ready("name")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(Fault, match=r"pip install 'cluster-zoo\[hub\]'") as caught:
        pushing.ready("org/name")
    assert caught.value.reason == "dependency-missing"


def test_a_push_needs_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    from zoo.weights import pushing

    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(Fault, match="needs a token that can write"):
        pushing.ready("org/name")


def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    net = build("pixels", Input(size=32, resize=32), 0)
    checkpoint.save(tmp_path / "pixels.safetensors", net, "pixels", {})
    with pytest.raises(Fault, match=r"pixels \(pixels\) has no weights"):
        publish(chosen(str(tmp_path / "pixels.safetensors"), "demo", None), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_everybody_may_read_what_is_published(out: Path) -> None:
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in out.iterdir()}
    assert set(modes.values()) == {modes["README.md"]}, modes


def test_a_model_whose_pretraining_has_failed_is_said_to_have_no_weights(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc", status="failed", reason="nan", message="diverged", facts={})
    (tmp_path / "models" / "odc-s0" / "backbone.safetensors").unlink()
    with pytest.raises(
        Fault, match="has no weights of 'odc': pretraining failed: nan: diverged; run it again"
    ):
        chosen("odc", "smoke", tmp_path)
