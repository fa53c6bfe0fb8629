"""Every architecture by name: this zoo's own, and with `timm:` before their names those of timm."""

from __future__ import annotations

import torch

from pretrain.base.faults import Fault, unknown
from pretrain.data.view import Input
from pretrain.nets import cifar, pixels, plain, resnet, timm
from pretrain.nets.backbone import Backbone
from pretrain.nets.names import FOREIGN, TIMM

ARCHS = {**resnet.ARCHS, **plain.ARCHS, **cifar.ARCHS, **pixels.ARCHS}


def build(arch: str, given: Input, seed: int) -> Backbone:
    """An untrained backbone, fp32 on the CPU, the same for the same seed. Raises Fault on an unknown name."""
    require(arch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if arch.startswith(TIMM):
            return timm.build(arch, given)
        return ARCHS[arch](given)


def require(arch: str) -> None:
    """Raises Fault unless there is an architecture of this name; timm's names are known when one is built."""
    if arch.startswith(FOREIGN):
        said = "is a module of the program that evaluated it; give it there again"
        raise Fault("bad-config", f"arch '{arch}' {said}, it cannot be built by name")
    if arch not in ARCHS and not arch.startswith(TIMM):
        raise unknown("arch", arch, [*ARCHS, f"{TIMM}NAME"])
