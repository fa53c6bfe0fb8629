"""Tasks of linear evaluation and of its transfer on a few images, and heads whose loss diverges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.task import Task
from benchmarks.protocols.linear import protocol as linear
from benchmarks.protocols.linear.run import heads as linear_heads
from benchmarks.protocols.transfer import protocol as transfer
from benchmarks.solvers.training import Head
from pretrain.base.settings import changed
from pretrain.data.sets import imagenet
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from tests import scenes

GIVEN = Input(size=16, resize=16)
CPU = torch.device("cpu")
LINEAR, TRANSFER = linear.SMOKE[0], transfer.SMOKE[0]


def task(root: Path, protocol: Protocol, images: Path | None = None, **settings: Any) -> Task:
    """A protocol with other settings, on a few images and an untrained backbone; root: for its progress."""
    images = images or scenes.folder(root / "images")
    backbone = build("resnet10_narrow", GIVEN, 0)
    path = root / "backbone.safetensors"
    checkpoint.save(path, backbone, "resnet10_narrow", {})
    splits = {role: imagenet.read(images, role) for role in ("train", "val")}
    given = changed(protocol.settings, **{"precision": "fp32", "batch_size": 8, **settings})
    return Task(
        protocol=replace(protocol, settings=given),
        backbone=backbone, checkpoint=path, splits=splits, fingerprints=dict.fromkeys(splits, ""), roots={},
        work=root, cache=root, seed=0, device=CPU, report=lambda *_: None,
    )  # fmt: skip


def diverging(given: Task, *names: str) -> list[Head]:
    """The heads of linear evaluation, some with a learning rate that no loss survives."""
    heads = linear_heads(given.protocol.settings)
    return [
        replace(head, solver=changed(head.solver, lr=1e38)) if head.name in names else head for head in heads
    ]
