"""Residual networks (He et al., CVPR 2016), stride in the 3x3
convolution (v1.5), with torchvision's tensor names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.data.view import Input
from pretrain.nets.backbone import Backbone, kaiming
from pretrain.nets.recompute import recomputed
from pretrain.nets.sobel import Sobel


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride: ResNet v1.5), 1x1 to four times the width, plus the shortcut."""

    expansion = 4

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, width * 4, 1, bias=False), nn.BatchNorm2d(width * 4)
        self.downsample = shortcut(inside, width * 4, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)), inplace=True)


class FirstStride(Bottleneck):
    """A bottleneck with the stride in its first 1x1, as the original was (v1): the shapes are the same."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__(inside, width, stride)
        self.conv1.stride, self.conv2.stride = (stride, stride), (1, 1)


class Basic(nn.Module):
    """Two 3x3 convolutions plus the shortcut."""

    expansion = 1

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.downsample = shortcut(inside, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)), inplace=True)


def shortcut(inside: int, outside: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inside == outside:
        return None
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))


class ResNet(Backbone):
    """A ResNet as a zoo backbone. `given.sobel` puts the Sobel front-end before a two-channel stem.

    edge: px of padding of the stem beyond those that keep the size. recompute: whether training keeps no maps
    inside the four stages, but computes them again in the backward pass.
    """

    recompute = False

    def __init__(
        self,
        block: type[Bottleneck | Basic],
        depth: tuple[int, ...],
        width: int,
        small_stem: bool,
        given: Input,
        edge: int = 0,
    ) -> None:
        super().__init__()
        self.input, self.small_stem = given, small_stem
        self.sobel = Sobel() if given.sobel else None
        channels = 2 if given.sobel else 3
        kernel, stride = (3, 1) if small_stem else (7, 2)
        self.conv1 = nn.Conv2d(channels, width, kernel, stride, kernel // 2 + edge, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inside, self.dims = width, [width]
        for i, blocks in enumerate(depth):
            outside = width * 2**i
            steps = [1 if i == 0 else 2] + [1] * (blocks - 1)
            made = []
            for step in steps:
                made.append(block(inside, outside, step))
                inside = outside * block.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*made))
            self.dims.append(inside)
        self.dim = inside
        self.apply(kaiming)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Five maps (B, C_i, H_i, W_i), finest first: after the
        stem (before max-pooling), then the four stages.
        """
        if self.sobel is not None:
            x = self.sobel(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        maps = [x]
        if not self.small_stem:
            x = F.max_pool2d(x, 3, 2, 1)
        for i in range(1, 5):
            stage = self.get_submodule(f"layer{i}")
            x = recomputed(stage, x) if self.recompute else stage(x)
            maps.append(x)
        return maps


ARCHS: dict[str, Callable[[Input], Backbone]] = {
    "resnet50": partial(ResNet, Bottleneck, (3, 4, 6, 3), 64, False),
    "resnet50w2": partial(ResNet, Bottleneck, (3, 4, 6, 3), 128, False),
    "resnet50w4": partial(ResNet, Bottleneck, (3, 4, 6, 3), 256, False),
    "resnet101": partial(ResNet, Bottleneck, (3, 4, 23, 3), 64, False),
    "resnet50_v1": partial(ResNet, FirstStride, (3, 4, 6, 3), 64, False),
    "resnet101_v1": partial(ResNet, FirstStride, (3, 4, 23, 3), 64, False),
    "resnet34": partial(ResNet, Basic, (3, 4, 6, 3), 64, False),
    "resnet18": partial(ResNet, Basic, (2, 2, 2, 2), 64, False),
    "resnet18_small": partial(ResNet, Basic, (2, 2, 2, 2), 64, True),
    "resnet50_small": partial(ResNet, Bottleneck, (3, 4, 6, 3), 64, True),
    "resnet18_small_pad2": partial(ResNet, Basic, (2, 2, 2, 2), 64, True, edge=1),
    "resnet50_small_pad2": partial(ResNet, Bottleneck, (3, 4, 6, 3), 64, True, edge=1),
    "resnet10_narrow": partial(ResNet, Basic, (1, 1, 1, 1), 16, True),
    "resnet10_half": partial(ResNet, Basic, (1, 1, 1, 1), 32, False),
}
