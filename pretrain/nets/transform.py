"""A picture as a backbone takes it: the same pixels as every benchmark's centre crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pretrain.data.augment import crop, normalise
from pretrain.data.image import upright
from pretrain.data.view import Input, centre_view


@dataclass(frozen=True)
class Transform:
    """Callable: a Pillow image of any mode -> float32 (3, S, S), normalised; S px as the input says."""

    input: Input

    def __call__(self, image: Image.Image) -> Tensor:
        pixels = crop(upright(image), centre_view(self.input), np.zeros(0))
        x = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).contiguous().float().div_(255.0)
        return normalise(x[None], self.input)[0]
