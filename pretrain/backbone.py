"""Backbones: what pretraining trains and every benchmark sees.

A backbone gives five feature maps (Feature1 to Feature5 of the zoo's tables) and their global average. Parameter
names are torchvision's, so a ResNet-50 of this zoo loads anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.faults import unknown
from pretrain.recipe import Input


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


class Sobel(nn.Module):
    """Gray (mean of the three channels), then horizontal and vertical Sobel edges: (B, 3, H, W) -> (B, 2, H, W).

    The 1x1 and 3x3 convolutions of DeepCluster fused into one fixed 3x3: exact at the borders too, because the
    bias-free gray projection maps padded zeros to zeros.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        edges = torch.tensor([[[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]])
        self.register_buffer("kernel", (edges / 3)[:, None].repeat(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x.float(), self.kernel, padding=1)


class Backbone(nn.Module):
    """What benchmarks see. input: how pixels reach it; dims: channels of its five maps; dim: those of the last."""

    input: Input
    dims: list[int]
    dim: int
    small_stem = False  # 3x3, stride 1, no max-pooling: for images of about 32 px

    def stages(self, x: Tensor) -> list[Tensor]:
        """Five maps (B, C_i, H_i, W_i), finest first."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> globally averaged features (B, dim)."""
        return self.stages(x)[-1].mean((2, 3))


class ResNet(Backbone):
    """A ResNet as a zoo backbone. `given.sobel` puts the Sobel front-end before a two-channel stem."""

    def __init__(
        self,
        block: type[Bottleneck | Basic],
        depth: tuple[int, ...],
        width: int,
        small_stem: bool,
        given: Input,
    ) -> None:
        super().__init__()
        self.input, self.small_stem = given, small_stem
        self.sobel = Sobel() if given.sobel else None
        channels = 2 if given.sobel else 3
        kernel, stride = (3, 1) if small_stem else (7, 2)
        self.conv1 = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
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
        """Five maps (B, C_i, H_i, W_i), finest first: after the stem (before max-pooling), then the four stages."""
        if self.sobel is not None:
            x = self.sobel(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        maps = [x]
        if not self.small_stem:
            x = F.max_pool2d(x, 3, 2, 1)
        for i in range(1, 5):
            x = self.get_submodule(f"layer{i}")(x)
            maps.append(x)
        return maps


class Plain(Backbone):
    """Convolutions with bias, batch norm and ReLU in a row: AlexNet and VGG-16 as DeepCluster (2018) trained them.

    layers: (channels, kernel, stride, padding) of a convolution, (kernel, stride) of a max-pooling; a map after
    `every` convolution, or before each pooling. The last pooling, `top`, is left to the fully connected layers that
    follow in training. Parameter names are those of the released models.
    """

    def __init__(self, layers: tuple[tuple[int, ...], ...], every: bool, given: Input) -> None:
        super().__init__()
        self.input, self.top = given, layers[-1]
        self.sobel = Sobel() if given.sobel else None
        inside, made = 2 if given.sobel else 3, list[nn.Module]()
        self.dims, self._ends = [], []
        for layer, following in pairwise(layers):
            if len(layer) == 2:
                made.append(nn.MaxPool2d(*layer))
                continue
            outside, kernel, stride, padding = layer
            made += [nn.Conv2d(inside, outside, kernel, stride, padding), nn.BatchNorm2d(outside), nn.ReLU(True)]
            inside = outside
            if every or len(following) == 2:
                self.dims.append(outside)
                self._ends.append(len(made))
        self.dim = inside
        self.features = nn.Sequential(*made)
        self.apply(kaiming)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Five maps (B, C_i, H_i, W_i), finest first."""
        if self.sobel is not None:
            x = self.sobel(x)
        maps = []
        for first, end in pairwise([0, *self._ends]):
            x = self.features[first:end](x)
            maps.append(x)
        return maps


def kaiming(module: nn.Module) -> None:
    """He initialisation, fan-out, for convolutions, biases at 0; batch norm at 1 and 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _vgg(*blocks: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    """Layers of a VGG from (number of 3x3 convolutions, channels) of its blocks."""
    return tuple(layer for n, channels in blocks for layer in [*[(channels, 3, 1, 1)] * n, (2, 2)])


_ALEXNET = ((96, 11, 4, 2), (3, 2), (256, 5, 1, 2), (3, 2), (384, 3, 1, 1), (384, 3, 1, 1), (256, 3, 1, 1), (3, 2))
_VGG16 = _vgg((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
ARCHS: dict[str, Callable[[Input], Backbone]] = {
    "resnet50": partial(ResNet, Bottleneck, (3, 4, 6, 3), 64, False),
    "resnet50w2": partial(ResNet, Bottleneck, (3, 4, 6, 3), 128, False),
    "resnet50w4": partial(ResNet, Bottleneck, (3, 4, 6, 3), 256, False),
    "resnet18": partial(ResNet, Basic, (2, 2, 2, 2), 64, False),
    "resnet10_narrow": partial(ResNet, Basic, (1, 1, 1, 1), 16, True),
    "alexnet": partial(Plain, _ALEXNET, True),
    "vgg16_bn": partial(Plain, _VGG16, False),
}


def build(arch: str, given: Input, seed: int) -> Backbone:
    """An untrained backbone, fp32 on the CPU, the same for the same seed. Raises Fault on an unknown name."""
    if arch not in ARCHS:
        raise unknown("arch", arch, ARCHS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ARCHS[arch](given)
