"""The network around a backbone while it trains. B images, V views, D dimensions, K outputs."""

from __future__ import annotations

from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Network(nn.Module):
    """Backbone, neck and head. forward(views) gives neck outputs
    (V*B, D) and head outputs (V*B, K), view by view.
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = backbone, neck, head

    def forward(self, views: list[Tensor]) -> tuple[Tensor, Tensor]:
        # Neighbouring views of one size share a pass, hence its batch-norm statistics; large crops come
        # first.
        groups = [list(group) for _, group in groupby(views, key=lambda view: view.shape[-1])]
        features = torch.cat([self.backbone(torch.cat(group)) for group in groups])
        z = self.neck(features)
        return z, self.head(z)


class Apart(Network):
    """A network that every view passes alone, neck and head included: views share no batch-norm
    statistics.
    """

    def forward(self, views: list[Tensor]) -> tuple[Tensor, Tensor]:
        z, outputs = zip(*(Network.forward(self, [view]) for view in views), strict=True)
        return torch.cat(z), torch.cat(outputs)


class Unit(nn.Module):
    """Rows scaled to unit length, in fp32 whatever the precision around it: (B, D) -> (B, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x.float())


def linear(inside: int, outside: int, std: float) -> nn.Linear:
    """A linear layer with weights N(0, std) and zero bias."""
    layer = nn.Linear(inside, outside)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


def projector(inside: int, hidden: int, outside: int) -> nn.Sequential:
    """Two linear layers with batch norm and ReLU between them, onto the unit sphere: the neck of SwAV."""
    layers = [
        nn.Linear(inside, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(True),
        nn.Linear(hidden, outside),
        Unit(),
    ]
    return nn.Sequential(*layers)
