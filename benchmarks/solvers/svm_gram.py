"""The inner products of the training rows, in two precisions and as a thin factor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.cluster.products import inner_products, packed

RANK = 64  # of the thin factor; a wider one costs more than the steps of conjugate gradients that it saves
_BLOCKS = 8
_ROWS = 16  # for which a packed matrix is laid out
_SMALL = 256  # rows; below it one product of all groups takes less time than packed ones in turn
_PASSES = 3  # of subspace iteration
_SMALLEST_REST = 2e-6  # of the largest eigenvalue: below this a system of the factor has no root in float32


@dataclass(frozen=True)
class Gram:
    """K = x x^T of n rows, or of many groups of rows.

    exact: [..., n, n] float64. rough: the same in float32. factor: [..., n, k] float32; factor factor^T is
    the leading part of K. pairs: [..., n, k (k + 1) / 2] float32, the products of two columns of the factor.
    rest: the mean of the diagonal that the factor leaves out. again: rough of every group once more, packed
    for the products with it; none where groups are small, and on a GPU. Memory: 16 n^2 + 2 k^2 n bytes.
    """

    exact: Tensor
    rough: Tensor
    factor: Tensor
    pairs: Tensor
    rest: float
    again: tuple[Tensor, ...] = ()

    @property
    def squared(self) -> Tensor:
        """[..., 1, n] squared lengths of the rows."""
        return self.exact.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)

    def times(self, a: Tensor) -> Tensor:
        """a K in float32; a: [..., p, n]."""
        if not self.again:
            return a @ self.rough
        if a.dim() == 2:
            return inner_products(a, self.again[0])  # K is symmetric
        return torch.stack([inner_products(one, k) for one, k in zip(a, self.again, strict=True)])

    def at(self, rows: Tensor) -> Gram:
        """The inner products within each group of rows. rows: [g, m]; exact of the result: [g, m, m]."""
        exact = self.exact.new_empty(*rows.shape, rows.shape[-1])
        for group, at in zip(exact, rows, strict=True):  # rows, then columns: at half the time of pairs
            torch.gather(self.exact[at], 1, at.expand(len(at), -1), out=group)
        rough = exact.float()
        return Gram(exact, rough, self.factor[rows], self.pairs[rows], self.rest, _packed(rough))


def gram(x: Tensor) -> Gram:
    """The inner products of the rows of x: [n, d] float64. Nothing in it is random."""
    exact = _products(x)
    rough = exact.float()
    factor = _leading(rough, min(RANK, len(x)))
    i, j = pair_index(factor)
    covered = factor.double().square()
    rest = float((exact.diagonal().sum() - covered.sum()) / len(x))
    rest = max(rest, _SMALLEST_REST * float(covered.sum(0).max()), torch.finfo(torch.float32).tiny)
    return Gram(exact, rough, factor, factor[:, i] * factor[:, j], rest, _packed(rough[None]))


def _packed(rough: Tensor) -> tuple[Tensor, ...]:
    """The products of each group, [g, n, n], laid out for thin products; none where that does not pay."""
    if rough.device.type != "cpu" or rough.shape[-1] < _SMALL:
        return ()
    return tuple(packed(one, _ROWS) for one in rough)


def pair_index(factor: Tensor) -> tuple[Tensor, Tensor]:
    """The two columns behind every column of `pairs`."""
    i, j = torch.tril_indices(factor.shape[-1], factor.shape[-1], device=factor.device)
    return i, j


def _products(x: Tensor) -> Tensor:
    """x x^T, each pair of blocks once."""
    n = len(x)
    exact, size = x.new_empty(n, n), max(1, -(-n // _BLOCKS))
    for start in range(0, n, size):
        rows = slice(start, start + size)
        exact[rows, : start + size] = x[rows] @ x[: start + size].T
        exact[:start, rows] = exact[rows, :start].T
    return exact


def _leading(rough: Tensor, rank: int) -> Tensor:
    """[n, rank] eigenvectors of the largest eigenvalues, each times the root of its eigenvalue; nearly."""
    start = torch.randn(len(rough), rank, generator=torch.Generator().manual_seed(0)).to(rough.device)
    basis = torch.linalg.qr(start).Q
    for _ in range(_PASSES):
        basis = torch.linalg.qr(rough @ basis).Q
    values, vectors = torch.linalg.eigh(basis.T @ (rough @ basis))
    factor: Tensor = (basis @ vectors) * values.clamp(min=0).sqrt()
    return factor
