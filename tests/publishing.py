"""Networks with weights as if of training, a model in its home, and what is published of them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contract.protocol import catalogue
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from tests.formats.sources import trained
from tests.reports.store import CARD, benchmark, pretraining
from zoo.weights.publish import chosen, publish

GIVEN = Input(size=64, resize=72, std=(0.228, 0.224, 0.225))


def ours(folder: Path, arch: str = "resnet10_narrow", sobel: bool = False, given: Input = GIVEN) -> Path:
    """A file of ours with weights as if of training."""
    net = trained(arch, sobel=sobel)
    net.input = Input(size=given.size, resize=given.resize, std=given.std, sobel=sobel)
    path = folder / "net.safetensors"
    checkpoint.save(path, net, arch, {"recipe": "own", "seed": 3})
    return path


def published(folder: Path, arch: str = "resnet10_narrow", sobel: bool = False) -> Path:
    publish(chosen(str(ours(folder, arch, sobel)), "demo", None), folder / "out")
    return folder / "out"


def trained_home(home: Path) -> Path:
    """The home of a model with weights, a card and results on few images."""
    record = pretraining(home, "odc", facts={"card": {**CARD, "training_data": "imagenet/train"}})
    path = home / "models" / "odc-s0" / "backbone.safetensors"
    ours(home).rename(path)
    benchmark(home, catalogue("smoke")["imagenet_linear"], {"AvgPool_top1": 41.234}, n=300)
    assert record.status == "ok"
    return home
