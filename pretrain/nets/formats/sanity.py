"""Signs that a network was never trained, or has collapsed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pretrain.nets.backbone import Backbone
from pretrain.nets.timm import Timm

IMAGES = 8
ALIKE = 1e-4  # spread of features among images, relative to their size, below which they are called constant


def warnings(net: Backbone, untrained: bool = True) -> Iterator[str]:
    """A sentence for every sign. untrained: whether statistics of batch norm tell of training."""
    wrong = [name for name, tensor in net.state_dict().items() if not bool(tensor.isfinite().all())]
    if wrong:
        yield f"{len(wrong)} tensors hold what is no finite number, the first is {wrong[0]}"
        return
    norms = [one for one in net.modules() if isinstance(one, nn.BatchNorm2d)]
    if untrained and norms and all(map(_initial, norms)):
        yield "every batch norm has its initial statistics: the network looks untrained"
    with torch.no_grad():
        features = net.eval()(probe(net))
    if not bool(features.isfinite().all()):
        yield "its features of ordinary images are not finite"
    elif bool(features.std(0).mean() <= ALIKE * features.abs().mean().clamp_min(1e-12)):
        yield "its features of different images are the same: the network looks collapsed"


def probe(net: Backbone) -> Tensor:
    """A few images of smooth random patches (8, 3, 64, 64), as if normalised, the same at every call; those
    of a network of timm have its own size, which some of them insist on.
    """
    side = net.input.size if isinstance(net, Timm) else 32 if net.small_stem else 64
    coarse = torch.randn(IMAGES, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)


def fingerprint(net: Backbone) -> tuple[float, list[float]]:
    """Mean length of the features of the probe images, and the first eight numbers of the first: a name that
    was mapped wrongly changes them.
    """
    with torch.no_grad():
        features = net.eval()(probe(net))
    return float(features.norm(dim=1).mean()), [float(one) for one in features[0, :8]]


def _initial(norm: nn.BatchNorm2d) -> bool:
    mean, var = norm.running_mean, norm.running_var
    return mean is not None and var is not None and not bool(mean.any()) and bool((var == 1).all())
