"""The image itself as five maps: the floor that learnt features must beat. Nothing is learnt."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.data.view import Input
from pretrain.nets.backbone import Backbone

LARGEST = 9216  # values of the last map, as large as the pooled maps of the linear protocols


class Pixels(Backbone):
    """Maps 1 to 4: the image, and its averages over 2, 4 and 8 px; map 5: all of its values, as channels.

    The average of the last map is then the flattened image itself, averaged down where it has more than
    `LARGEST` values.
    """

    def __init__(self, given: Input) -> None:
        super().__init__()
        side = min(given.size, int((LARGEST / 3) ** 0.5))
        self.input, self.side, self.dim = given, side, 3 * side * side
        self.dims = [3, 3, 3, 3, self.dim]
        self.register_buffer("nothing", torch.zeros(1))  # a weights file holds a tensor

    def stages(self, x: Tensor) -> list[Tensor]:
        coarser = [F.adaptive_avg_pool2d(x, max(1, x.shape[-1] // step)) for step in (2, 4, 8)]
        flat = F.adaptive_avg_pool2d(x, self.side).flatten(1)
        return [x, *coarser, flat[:, :, None, None]]


ARCHS = {"pixels": Pixels}
