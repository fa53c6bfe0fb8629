"""Every architecture by name."""

from __future__ import annotations

import torch

from pretrain.base.faults import unknown
from pretrain.data.view import Input
from pretrain.nets import cifar, pixels, plain, resnet
from pretrain.nets.backbone import Backbone

ARCHS = {**resnet.ARCHS, **plain.ARCHS, **cifar.ARCHS, **pixels.ARCHS}


def build(arch: str, given: Input, seed: int) -> Backbone:
    """An untrained backbone, fp32 on the CPU, the same for the same seed. Raises Fault on an unknown name."""
    if arch not in ARCHS:
        raise unknown("arch", arch, ARCHS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ARCHS[arch](given)
