"""A fine-tuning whose loss is not finite has no accuracy, and a bad image is named however it was read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.task import Task
from benchmarks.protocols.semi_supervised import protocol as semi
from benchmarks.protocols.semi_supervised import run as semi_run
from pretrain.base.faults import Fault
from pretrain.base.settings import changed
from pretrain.data import loader
from pretrain.data.sets import imagenet
from pretrain.data.view import Input, centre_view
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from pretrain.train.recipe import Step
from tests import scenes

GIVEN = Input(size=16, resize=16)
CPU = torch.device("cpu")
SHORT = {"epochs": 1, "schedule": Step(), "batch_size": 8}


def task(root: Path, protocol: Protocol, **settings: Any) -> Task:
    """A protocol with other settings, on a few images and an untrained backbone."""
    images = scenes.folder(root / "images")
    backbone = build("resnet10_narrow", GIVEN, 0)
    path = root / "backbone.safetensors"
    checkpoint.save(path, backbone, "resnet10_narrow", {})
    splits = {role: imagenet.read(images, role) for role in ("train", "val")}
    return Task(
        protocol=replace(protocol, settings=changed(protocol.settings, **settings)),
        backbone=backbone, checkpoint=path, splits=splits, fingerprints=dict.fromkeys(splits, ""), roots={},
        work=root, cache=root, seed=0, device=CPU, report=lambda *_: None,
    )  # fmt: skip


@pytest.mark.case(11)
def test_a_diverged_point_of_the_grid_is_left_out_and_said(tmp_path: Path) -> None:
    grid: dict[str, Any] = {"lrs": (1e30, 0.01), "head_multipliers": (1,), **SHORT}
    out = semi_run.run(task(tmp_path, semi.SMOKE[0], **grid))
    chosen = out.scores[0].selection
    assert chosen is not None
    assert chosen.choice == "head1_steplr1e-2"
    assert set(chosen.among) == {"head1_steplr1e-2"}
    assert out.facts["diverged"] == ["head1_steplr1e+30 val"]


@pytest.mark.parametrize("honest", [False, True])
def test_a_grid_that_diverged_everywhere_fails(tmp_path: Path, honest: bool) -> None:
    grid: dict[str, Any] = {"lrs": (1e30,), "head_multipliers": (1,), **SHORT}
    with pytest.raises(Fault, match="all 1 settings diverged"):
        semi_run.run(task(tmp_path, semi.SMOKE[0], **grid, honest=honest))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.case(15, 16)
def test_a_bad_image_is_named_by_workers_too(tmp_path: Path, workers: int) -> None:
    split = imagenet.read(scenes.folder(tmp_path), "train")
    split.path(5).write_bytes(b"no image")
    images = loader.Images(split, [centre_view(GIVEN)], 0)
    with pytest.raises(Fault, match=r"005.png cannot be decoded") as raised:
        list(loader.Loader(images, GIVEN, CPU, workers).batches(np.arange(len(split)), 7, 0))
    assert raised.value.reason == "data-corrupt"
