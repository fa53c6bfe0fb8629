"""The residual networks for CIFAR (He et al., CVPR 2016, section 4.2): three stages of 16, 32 and 64
channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.data.view import Input
from pretrain.nets.backbone import Backbone, kaiming
from pretrain.nets.sobel import Sobel

WIDTHS = (16, 32, 64)


class Padded(nn.Module):
    """Two 3x3 convolutions plus a shortcut without weights: every second pixel, padded with empty channels.

    Half of the empty channels stand on either side (option A of the paper, as its CIFAR results were made).
    """

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.stride, self.empty = stride, (width - inside) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        kept = x[:, :, :: self.stride, :: self.stride]
        return F.relu(out + F.pad(kept, (0, 0, 0, 0, self.empty, self.empty)), inplace=True)


class Cifar(Backbone):
    """A ResNet of 6 * blocks + 2 layers for images of about 32 px; 64 features.

    Its five maps: the stem, the first block, and the three stages, so that the first two have 16 channels.
    """

    small_stem = True

    def __init__(self, blocks: int, given: Input) -> None:
        super().__init__()
        self.input = given
        self.sobel = Sobel() if given.sobel else None
        inside = WIDTHS[0]
        self.conv1 = nn.Conv2d(2 if given.sobel else 3, inside, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inside)
        for i, width in enumerate(WIDTHS):
            made = list[nn.Module]()
            for j in range(blocks):
                made.append(Padded(inside, width, 2 if i and j == 0 else 1))
                inside = width
            self.add_module(f"layer{i + 1}", nn.Sequential(*made))
        self.dims, self.dim = [WIDTHS[0], *WIDTHS[:1], *WIDTHS], inside
        self.apply(kaiming)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Five maps (B, C_i, H_i, W_i), finest first."""
        if self.sobel is not None:
            x = self.sobel(x)
        maps = [F.relu(self.bn1(self.conv1(x)), inplace=True)]
        first, *rest = self.get_submodule("layer1").children()
        maps.append(first(maps[-1]))
        maps.append(nn.Sequential(*rest)(maps[-1]))
        for i in (2, 3):
            maps.append(self.get_submodule(f"layer{i}")(maps[-1]))
        return maps


ARCHS: dict[str, Callable[[Input], Backbone]] = {
    f"resnet{6 * blocks + 2}": partial(Cifar, blocks) for blocks in (3, 5, 7, 9)
}
