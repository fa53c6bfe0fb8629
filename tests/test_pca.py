"""Streamed PCA-whitening equals the direct one and survives rank-deficient features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.base import dist
from pretrain.base.faults import Fault
from pretrain.cluster.pca import Moments, Whitening
from tests import gloo


def correlated(n: int, d: int, rank: int, offset: float = 3.0) -> Tensor:
    """n rows in a `rank`-dimensional affine subspace, with standard deviations from about 1 down to 0.1."""
    g = torch.Generator().manual_seed(0)
    scales = torch.logspace(0, -1, rank)
    basis = torch.linalg.qr(torch.randn(d, rank, generator=g)).Q
    return (torch.randn(n, rank, generator=g) * scales) @ basis.T + offset * torch.rand(d, generator=g)


def fitted(x: Tensor, dims: int, batch: int = 64) -> Whitening:
    moments = Moments(x.shape[1])
    for i in range(0, len(x), batch):
        moments.update(x[i : i + batch])
    return moments.solve(dims)


@pytest.mark.parametrize("offset", [0.0, 3.0, 300.0])
def test_equals_the_direct_decomposition(offset: float) -> None:
    x = correlated(1000, 12, 12, offset)
    found = fitted(x, 5)
    rows = x.double().numpy()
    values, vectors = np.linalg.eigh(np.cov(rows.T, bias=True))
    expected = np.stack([vectors[:, -1 - j] / np.sqrt(values[-1 - j]) for j in range(5)], 1)
    signs = np.sign([np.dot(expected[:, j], found.projection[:, j].numpy()) for j in range(5)])
    np.testing.assert_allclose(found.mean.numpy(), rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.projection.numpy(), expected * signs, atol=1e-3)


def test_the_output_is_white() -> None:
    x = correlated(4000, 40, 40)
    z = fitted(x, 25)(x).double()
    assert z.shape == (4000, 25)
    torch.testing.assert_close(z.mean(0), torch.zeros(25, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.T @ z / 4000, torch.eye(25, dtype=torch.float64), atol=1e-2, rtol=0)


def test_two_axes_by_hand() -> None:
    # Standard deviations 2 along x and 1 along y around (5, 5): whitening divides by them.
    x = torch.tensor([[7.0, 5.0], [3.0, 5.0], [5.0, 6.0], [5.0, 4.0]])
    found = fitted(x, 2)
    assert found.mean.tolist() == [5, 5]
    torch.testing.assert_close(found.projection, torch.diag(torch.tensor([2**-0.5, 2**0.5])))
    torch.testing.assert_close(found(torch.tensor([[7.0, 6.0]])), torch.tensor([[2**0.5, 2**0.5]]))


def test_batches_and_types_do_not_show() -> None:
    x = correlated(500, 10, 10).half()
    whole, pieces = fitted(x, 4, 500), fitted(x.double(), 4, 7)
    torch.testing.assert_close(whole.projection, pieces.projection, atol=1e-6, rtol=0)
    assert (
        float(whole.projection.abs().amax(0).sub(whole.projection.amax(0)).abs().max()) == 0
    )  # signs are fixed


@pytest.mark.parametrize(("n", "drawn", "rank"), [(300, 6, 6), (5, 20, 4)])  # five rows span four dimensions
def test_dims_shrink_to_the_rank_with_a_warning(n: int, drawn: int, rank: int) -> None:
    x = correlated(n, 30, drawn)
    with pytest.warns(
        UserWarning, match=f"16 dimensions asked of {n} rows of rank {rank}; continuing with {rank}"
    ):
        whitening = fitted(x, 16)
    z = whitening(x)
    assert z.shape == (n, rank)
    assert bool(torch.isfinite(z).all())
    torch.testing.assert_close(z.T @ z / n, torch.eye(rank), atol=1e-2, rtol=0)


def test_near_null_directions_are_not_blown_up() -> None:
    # Standard deviations 1 and 1e-4: variance 1e-8 is raised to 1e-6 of the largest, so it comes out as 0.1,
    # not 1.
    x = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1e-4])
    torch.testing.assert_close(fitted(x, 2)(x).std(0), torch.tensor([1.0, 0.1]), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    "rows", [torch.zeros(0, 3), torch.full((9, 3), 1.7), torch.full((4, 3), float("nan"))]
)
def test_rows_that_do_not_vary_are_refused(rows: Tensor) -> None:
    with pytest.raises(Fault, match=f"the {len(rows)} features do not vary or are not finite"):
        fitted(rows, 2)


def _own_share(x: Tensor) -> tuple[Tensor, Tensor]:
    moments = Moments(x.shape[1])
    moments.update(x[:130] if dist.rank() == 0 else x[130:])
    moments.solve(2)
    found = moments.solve(6)  # solving twice: the sums stay as they are
    dist.assert_replicated(found.projection, "projection")
    return found.mean, found.projection


def test_processes_share_their_statistics(tmp_path: Path) -> None:
    x = correlated(400, 10, 10)
    alone = fitted(x, 6)
    for mean, projection in gloo.run(_own_share, 2, tmp_path, x):
        torch.testing.assert_close(mean, alone.mean)
        torch.testing.assert_close(projection, alone.projection, atol=1e-6, rtol=0)
