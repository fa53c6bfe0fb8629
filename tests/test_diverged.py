"""A head whose loss is not finite has no accuracy, and a bad image is named however it was read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.protocol import Task
from benchmarks.protocols import linear, semi
from pretrain import checkpoint, loader
from pretrain.backbone import build
from pretrain.datasets import imagenet
from pretrain.faults import Fault
from pretrain.recipe import Input, centre_view
from tests import scenes

pytestmark = pytest.mark.usefixtures("one_thread")
GIVEN = Input(size=16, resize=16)
CPU = torch.device("cpu")


def task(root: Path, protocol: Any) -> Task:
    """A protocol on a few images and an untrained backbone."""
    images = scenes.folder(root / "images")
    backbone = build("resnet10_narrow", GIVEN, 0)
    path = root / "backbone.safetensors"
    checkpoint.save(path, backbone, "resnet10_narrow", {})
    splits = {role: imagenet.split(images, role) for role in ("train", "val")}
    return Task(
        protocol=protocol, backbone=backbone, checkpoint=path, splits=splits, roots={}, work=root, cache=root,
        seed=0, device=CPU, report=lambda *_: None,
    )  # fmt: skip


def test_a_linear_head_that_diverges_is_named_and_gives_no_accuracy(tmp_path: Path) -> None:
    protocol = linear.SMOKE[0]
    settings = replace(protocol.settings, average=replace(protocol.settings.average, lr=1e38), batch_size=8)
    with pytest.raises(Fault, match=r"imagenet_linear: the loss of AvgPool is not finite in epoch \d") as raised:
        linear.run(task(tmp_path, replace(protocol, settings=settings)))
    assert raised.value.reason == "nan"


def test_a_diverged_point_of_the_grid_is_left_out_and_said(tmp_path: Path) -> None:
    protocol = semi.SMOKE[0]
    settings = replace(protocol.settings, lrs=(1e30, 0.01), head_multipliers=(1,), epochs=1, batch_size=8)
    out = semi.run(task(tmp_path, replace(protocol, settings=settings)))
    assert out.facts["setting"] == "head1_steplr1e-2"
    assert out.facts["diverged"] == ["head1_steplr1e+30 val"]


def test_a_grid_that_diverged_everywhere_fails(tmp_path: Path) -> None:
    protocol = semi.SMOKE[0]
    settings = replace(protocol.settings, lrs=(1e30,), head_multipliers=(1,), epochs=1, batch_size=8)
    with pytest.raises(Fault, match="all 1 settings diverged"):
        semi.run(task(tmp_path, replace(protocol, settings=settings)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_is_named_by_workers_too(tmp_path: Path, workers: int) -> None:
    split = imagenet.split(scenes.folder(tmp_path), "train")
    split.path(5).write_bytes(b"no image")
    images = loader.Images(split, [centre_view(GIVEN)], 0)
    with pytest.raises(Fault, match=r"005.png cannot be decoded") as raised:
        list(loader.Loader(images, GIVEN, CPU, workers).batches(np.arange(len(split)), 7, 0))
    assert raised.value.reason == "data-corrupt"
