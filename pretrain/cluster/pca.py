"""PCA-whitening whose statistics are streamed: every batch adds its sum and its Gram matrix, no feature is
kept.

With the mean m and the covariance S = sum x x^T / n - m m^T = V diag(l) V^T, whitening maps x to (x - m) V
diag(l)^-1/2 on the leading eigenvectors, so that the output has covariance I. DeepCluster normalises the rows
afterwards.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from pretrain.base import dist
from pretrain.base.faults import Fault

# What is rounding of fp32 features (relative error 6e-8) and not variance: eigenvalues below this share of
# the largest,
_RANK = 1e-10
# and variances below this share of the squared mean.
_EQUAL = 1e-14


class Whitening(NamedTuple):
    """mean (d,) and projection (d, dims), fp32."""

    mean: Tensor
    projection: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Whitened rows (n, dims) fp32 of x (n, d), not yet normalised."""
        return (x.float() - self.mean) @ self.projection


class Moments:
    """Number, sum (d,) and Gram matrix (d, d) of the rows seen so far, in float64 on their device.

    float64 throughout, because S is a small difference of large numbers: 2 b d^2 operations for a batch of b
    rows, which data-centre GPUs do at the rate of fp32.
    """

    def __init__(self, d: int, device: torch.device | str = "cpu") -> None:
        self.n = torch.zeros((), dtype=torch.float64, device=device)
        self.total = torch.zeros(d, dtype=torch.float64, device=device)
        self.gram = torch.zeros(d, d, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Adds rows x (b, d), any float dtype."""
        rows = x.double()
        self.n += len(rows)
        self.total += rows.sum(0)
        self.gram.addmm_(rows.T, rows)

    @torch.no_grad()
    def solve(self, dims: int, eps: float = 1e-6) -> Whitening:
        """Whitening to `dims` dimensions from the rows of all processes; the sums here stay as they are.

        Eigenvalues below eps times the largest are raised to that, so that near-null directions are not blown
        up to unit variance (those of a network before training). `dims` shrinks to the rank, with a warning.
        Each eigenvector's largest entry is positive. One process solves and sends, so all hold the same bits.

        Raises Fault (nan) if the rows do not vary (none, one, all equal) or are not finite.
        """
        n, mean, covariance = self._reduced()
        largest, noise = covariance.diagonal().amax(), _EQUAL * mean.square().sum()
        if not bool(largest > noise):  # NaN is not larger either
            said = f"PCA: the {int(n)} features do not vary or are not finite"
            raise Fault("nan", f"{said}; the network has diverged (lower 'lr'), or all images are the same")
        values, vectors = torch.linalg.eigh(covariance)
        values = dist.broadcast_(values.flip(0))
        rank = int((values > _RANK * values[0]).sum())
        if dims > rank:
            warnings.warn(
                f"PCA: {dims} dimensions asked of {int(n)} rows of rank {rank}; continuing with {rank}",
                stacklevel=2,
            )
        leading = vectors.flip(1)[:, : min(dims, rank)]
        largest_entry = leading.gather(0, leading.abs().argmax(0, keepdim=True))
        scale = values[: leading.shape[1]].clamp_min(float(eps * values[0])).rsqrt()
        projection = dist.broadcast_((leading * largest_entry.sign() * scale).float())
        return Whitening(dist.broadcast_(mean.float()), projection)

    def _reduced(self) -> tuple[Tensor, Tensor, Tensor]:
        """Over all processes: number of rows, mean (d,),
        covariance (d, d). One all-reduce of 34 MB at d = 2048.
        """
        d = len(self.total)
        packed = dist.all_reduce_sum_(torch.cat([self.n[None], self.total, self.gram.flatten()]))
        n = packed[0]
        mean = packed[1 : d + 1] / n
        return n, mean, packed[d + 1 :].view(d, d) / n - mean[:, None] * mean
