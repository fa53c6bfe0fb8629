"""Plain convolutional networks: AlexNet and VGG-16 with batch norm, as DeepCluster (2018) trained them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from pretrain.data.view import Input
from pretrain.nets.backbone import Backbone, kaiming
from pretrain.nets.sobel import Sobel


class Plain(Backbone):
    """Convolutions with bias, batch norm and ReLU in a row: AlexNet and VGG-16 as DeepCluster (2018) trained
    them.

    layers: (channels, kernel, stride, padding) of a convolution, (kernel, stride) of a max-pooling; a map
    after `every` convolution, or before each pooling. The last pooling, `top`, is left to the fully connected
    layers that follow in training. Parameter names are those of the released models.
    """

    def __init__(self, layers: tuple[tuple[int, ...], ...], every: bool, given: Input) -> None:
        super().__init__()
        self.input, (kernel, stride) = given, layers[-1]
        self.top = (kernel, stride)
        self.sobel = Sobel() if given.sobel else None
        inside, made = 2 if given.sobel else 3, list[nn.Module]()
        self.dims, self._ends = [], []
        for layer, following in pairwise(layers):
            if len(layer) == 2:
                made.append(nn.MaxPool2d(*layer))
                continue
            outside, kernel, stride, padding = layer
            made += [
                nn.Conv2d(inside, outside, kernel, stride, padding),
                nn.BatchNorm2d(outside),
                nn.ReLU(True),
            ]
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


def _vgg(*blocks: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    """Layers of a VGG from (number of 3x3 convolutions, channels) of its blocks."""
    return tuple(layer for n, channels in blocks for layer in [*[(channels, 3, 1, 1)] * n, (2, 2)])


_ALEXNET = (
    (96, 11, 4, 2),
    (3, 2),
    (256, 5, 1, 2),
    (3, 2),
    (384, 3, 1, 1),
    (384, 3, 1, 1),
    (256, 3, 1, 1),
    (3, 2),
)
_VGG16 = _vgg((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
ARCHS: dict[str, Callable[[Input], Backbone]] = {
    "alexnet": partial(Plain, _ALEXNET, True),
    "vgg16_bn": partial(Plain, _VGG16, False),
}
