"""The fixed edge front-end of DeepCluster (Caron et al. 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Sobel(nn.Module):
    """Gray (mean of the three channels), then horizontal and vertical Sobel edges: (B, 3, H, W) -> (B, 2, H,
    W).

    The 1x1 and 3x3 convolutions of DeepCluster fused into one fixed 3x3: exact at the borders too, because
    the bias-free gray projection maps padded zeros to zeros.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        edges = torch.tensor([[[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]])
        self.register_buffer("kernel", (edges / 3)[:, None].repeat(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x.float(), self.kernel, padding=1)
