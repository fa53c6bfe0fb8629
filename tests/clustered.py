"""A model's folder as `zoo cluster` and `zoo embed` take it: a backbone, and clusters beside it."""

from __future__ import annotations

from pathlib import Path

import torch

from pretrain.data.view import Input
from pretrain.nets import checkpoint, clusters
from pretrain.nets.archs import build
from pretrain.nets.clusters import Clustering

GIVEN = Input(size=16, resize=16)


def model(place: Path) -> Path:
    """The backbone's file; its clusters are around the features of three kinds of images."""
    backbone = build("resnet10_narrow", GIVEN, 0)
    meta = checkpoint.save(place / "backbone.safetensors", backbone, "resnet10_narrow", {"recipe": "raw"})
    kept = Clustering("l2", torch.randn(2, 3, backbone.dim, generator=torch.Generator().manual_seed(0)))
    clusters.save(place / clusters.NAME, kept, "raw", meta.sha256)
    return place / "backbone.safetensors"
