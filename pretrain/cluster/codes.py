"""Codes: soft assignments to K prototypes, and views of an image that predict each other's (SwAV, DINO)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.base import dist

FP32_EPSILON = 0.03  # below it the exponentials of Sinkhorn need fp64


def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Codes fp32 (A, n, K) of this process's rows: each sums to 1, and all prototypes have nearly equal
    totals.

    scores (A, n, K) in [-1, 1]. Alternately every prototype's total over the rows of all processes is made
    equal, then every row's sum 1. The A problems are independent and share one all-reduce (A K numbers) per
    iteration. The paper's division by the sum of everything, and its factors K and B, cancel. In fp64 where
    fp32 has not the range.
    """
    Q = torch.exp((scores.float() if epsilon >= FP32_EPSILON else scores.double()) / epsilon)
    for _ in range(iterations):
        Q /= dist.all_reduce_sum_(Q.sum(1, keepdim=True))
        Q /= Q.sum(2, keepdim=True)
    return Q.float()


def swapped_loss(s: Tensor, q: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of scores s (V, B, K) to codes q (A, B, K) over all pairs of different views."""
    predicted = F.log_softmax(s / temperature, dim=2)
    each = -torch.einsum("abk,vbk->av", q, predicted) / s.shape[1]
    other = 1 - torch.eye(len(q), len(s), device=s.device)
    return (each * other).sum() / other.sum()
