"""The network around a backbone while it trains. B images, V views, D dimensions, K outputs."""

from __future__ import annotations

from itertools import groupby

import torch
import torch.distributed as tdist
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain import dist
from pretrain.backbone import Plain
from pretrain.faults import Fault


class Network(nn.Module):
    """Backbone, neck and head. forward(views) gives neck outputs (V*B, D) and head outputs (V*B, K), view by view."""

    def __init__(self, backbone: nn.Module, neck: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = backbone, neck, head

    def forward(self, views: list[Tensor]) -> tuple[Tensor, Tensor]:
        # Neighbouring views of one size share a pass, hence its batch-norm statistics; large crops come first.
        groups = [list(group) for _, group in groupby(views, key=lambda view: view.shape[-1])]
        features = torch.cat([self.backbone(torch.cat(group)) for group in groups])
        z = self.neck(features)
        return z, self.head(z)


class Flattened(nn.Module):
    """The last map of an AlexNet or VGG, max-pooled and flattened, for fully connected layers: (B, C * side^2)."""

    def __init__(self, backbone: Plain) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.backbone.top
        return F.max_pool2d(self.backbone.stages(x)[-1], kernel, stride).flatten(1)


class Unit(nn.Module):
    """Rows scaled to unit length, in fp32 whatever the precision around it: (B, D) -> (B, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x.float())


class Prototypes(nn.Module):
    """Inner products with K trained prototypes: (B, D) -> (B, K), fp32 whatever the precision around it.

    A score of 1 rounded to bf16 is off by up to 0.004, which a temperature of 0.05 turns into 8 % of its exponential.
    """

    def __init__(self, outside: int, inside: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.rand(outside, inside) * 2 - 1))  # directions of a linear layer

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return z.float() @ self.weight.T


def linear(inside: int, outside: int, std: float) -> nn.Linear:
    """A linear layer with weights N(0, std) and zero bias."""
    layer = nn.Linear(inside, outside)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


def projector(inside: int, hidden: int, outside: int) -> nn.Sequential:
    """Two linear layers with batch norm and ReLU between them, onto the unit sphere: the neck of SwAV."""
    layers = [nn.Linear(inside, hidden), nn.BatchNorm1d(hidden), nn.ReLU(True), nn.Linear(hidden, outside), Unit()]
    return nn.Sequential(*layers)


def share_statistics(net: nn.Module, images: int, batch_size: int) -> nn.Module:
    """`net` with batch norms that share statistics over groups of processes holding `images` images, 0: over all.

    Statistics depend on the group alone: one process with 512 images has the same as eight with 64, and needs no
    synchronisation. Raises Fault if no number of processes holds that many images.
    """
    ranks = ranks_sharing(images, batch_size, dist.world_size())
    if ranks == 1:
        return net
    groups = [tdist.new_group(list(range(i, i + ranks))) for i in range(0, dist.world_size(), ranks)]
    shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net, groups[dist.rank() // ranks])
    return shared


def ranks_sharing(images: int, batch_size: int, world: int) -> int:
    """How many of `world` processes share statistics so that each group holds `images` images (0: all of a batch)."""
    each = batch_size // world
    if images == 0 or images >= batch_size:
        return world
    ranks = max(1, images // each)
    if (images % each and ranks > 1) or world % ranks:
        said = f"batch norm over {images} images does not divide {world} processes of {each} images"
        raise Fault("bad-config", f"{said}; choose a number of processes that does, or another 'bn_group'")
    return ranks
