"""Backbones: what pretraining trains and every benchmark sees.

A backbone gives five feature maps (Feature1 to Feature5 of the zoo's tables) and their global average.
Parameter names are torchvision's, so a ResNet-50 of this zoo loads anywhere. Networks of other programs have
their own names, may have only the last of the maps, and may average in a way of their own.
"""

from __future__ import annotations

from torch import Tensor, nn

from pretrain.data.view import Input
from pretrain.nets.transform import Transform

MAPS = 5  # of a backbone; one that gives fewer gives the last of them


class Backbone(nn.Module):
    """What benchmarks see. input: how pixels reach it; dims: channels of its maps; dim: of its average, which
    is that of the last map, or the network's own.
    """

    input: Input
    dims: list[int]
    dim: int
    small_stem = False  # 3x3, stride 1, no max-pooling: for images of about 32 px

    def stages(self, x: Tensor) -> list[Tensor]:
        """Five maps (B, C_i, H_i, W_i), finest first."""
        raise NotImplementedError

    def depths(self, x: Tensor) -> list[Tensor]:
        """The maps of `stages`, then the one (B, dim, H, W) whose average over its places is the feature."""
        maps = self.stages(x)
        return [*maps, maps[-1]]

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> globally averaged features (B, dim)."""
        return self.depths(x)[-1].mean((2, 3))

    @property
    def transform(self) -> Transform:
        """Makes of a Pillow image what the backbone takes: float32 (3, S, S), as every benchmark does."""
        return Transform(self.input)


def kaiming(module: nn.Module) -> None:
    """He initialisation, fan-out, for convolutions, biases at 0; batch norm at 1 and 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
