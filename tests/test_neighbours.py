"""The nearest rows of a bank on disk: against brute force, with ties, in little memory."""

from __future__ import annotations

import multiprocessing
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.protocols.knn import run as knn
from benchmarks.protocols.knn.protocol import KnnSettings
from benchmarks.solvers.neighbours import first_best, nearest, tile
from tests import gloo


def brute(bank: Any, queries: Any, k: int) -> tuple[Any, Any]:
    """Cosines and rows of the k nearest in fp64, the whole matrix at once, the first of equals first."""
    bank, queries = (np.asarray(x, dtype=np.float64) for x in (bank, queries))
    sizes = [np.maximum(np.linalg.norm(x, axis=1), 1e-12) for x in (bank, queries)]
    s = queries @ bank.T / sizes[1][:, None] / sizes[0]
    order = np.argsort(-s, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(s, order, 1), order


@pytest.mark.parametrize("block_bytes", [1, 700, 1 << 20])
@pytest.mark.parametrize(("k", "step"), [(1, 3), (7, 17), (60, 1)])
def test_blocks_find_what_brute_force_finds(k: int, step: int, block_bytes: int) -> None:
    g = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(60, 8, generator=g), torch.randn(17, 8, generator=g)
    value, index = nearest(bank.numpy(), queries, k, step, block_bytes)
    cosines, rows = brute(bank, queries, k)
    assert np.abs(value.numpy() - cosines).max() < 1e-6
    assert np.array_equal(index, rows)


@pytest.mark.parametrize("block_bytes", [1, 100, 1 << 20])
@pytest.mark.parametrize("k", [1, 4, 9, 30])
def test_of_equal_rows_the_first_come_first_in_any_blocks(k: int, block_bytes: int) -> None:
    """Signed unit vectors and zeros: every cosine is -1, 0 or 1 without rounding."""
    rng = np.random.default_rng(0)
    bank, queries = (np.eye(4, dtype=np.float32)[rng.integers(0, 4, n)] for n in (40, 11))
    bank *= rng.integers(-1, 2, (40, 1)).astype(np.float32)
    value, index = nearest(bank, torch.from_numpy(queries), k, 4, block_bytes)
    cosines, rows = brute(bank, queries, k)
    assert np.array_equal(value, cosines)
    assert np.array_equal(index, rows)


@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
def test_the_first_of_equal_values_are_taken(levels: int) -> None:
    s = torch.randint(0, levels, (50, 40), generator=torch.Generator().manual_seed(1)).float()
    for k in (1, 13, 40):
        value, column = first_best(s, k)
        expected = s.sort(dim=1, descending=True, stable=True)
        assert torch.equal(value, expected.values[:, :k])
        assert torch.equal(column, expected.indices[:, :k])


@pytest.mark.parametrize("k", [0, 6])
def test_more_neighbours_than_rows_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match="k must be 1 to 5"):
        nearest(torch.ones(5, 2), torch.ones(1, 2), k, 1)


def test_tiles_keep_within_their_bytes() -> None:
    assert tile(50_000, 16_384, 1 << 27) == 1024
    assert tile(50_000, 1_281_167, 1 << 27) == 26
    assert tile(10, 1_281_167, 1) == 1


def searched(bank: Path, queries: Tensor, limit: int) -> None:
    """Finds neighbours with room for `limit` bytes more than this process has already."""
    pages = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (pages + limit, pages + limit))
    nearest(np.load(bank, mmap_mode="r"), queries, 50, 128, 2 << 20)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
def test_memory_is_of_a_block_whatever_the_bank(tmp_path: Path) -> None:
    """A bank and similarities of 40 MB each, in 24 MB: no copy of one nor the other fits."""
    rng, path = np.random.default_rng(0), tmp_path / "bank.npy"
    bank = np.lib.format.open_memmap(path, "w+", np.float32, (40_000, 256))
    bank[:] = rng.random((40_000, 256), dtype=np.float32)
    bank.flush()
    process = multiprocessing.get_context("fork").Process(
        target=searched, args=(path, torch.rand(250, 256), 24 << 20)
    )
    process.start()
    process.join()
    assert process.exitcode == 0


def votes(bank: Tensor, y: Tensor, queries: Tensor) -> list[Tensor]:
    return knn.vote(bank, y, queries, KnnSettings(ks=(1, 5, 20)), 4 * 60 * 4)


@pytest.mark.parametrize("queries", [1, 17])
def test_processes_share_the_queries_and_have_the_votes_of_one(tmp_path: Path, queries: int) -> None:
    """Tiles of four queries; of one query the second process has none."""
    g = torch.Generator().manual_seed(0)
    given = torch.randn(60, 8, generator=g), torch.arange(60) % 7, torch.randn(queries, 8, generator=g)
    alone = votes(*given)
    for ranked in gloo.run(votes, 2, tmp_path, *given):
        assert all(torch.equal(ours, one) for ours, one in zip(ranked, alone, strict=True))


@pytest.mark.parametrize("temperature", [0.07, 0.012, 0.003])
def test_a_low_temperature_ranks_classes_as_exact_weights_do(temperature: float) -> None:
    g = torch.Generator().manual_seed(0)
    bank, queries = (1 + torch.rand(n, 16, generator=g) for n in (300, 40))  # cosines near 1
    y = torch.randint(10, (300,), generator=g)
    (ranked,) = knn.vote(bank, y, queries, KnnSettings(ks=(50,), temperature=temperature))
    cosine, near = nearest(bank, queries, 50, 40)
    for row, found in enumerate(ranked.tolist()):
        votes = np.zeros(10)
        for value, at in zip(cosine[row].tolist(), near[row].tolist(), strict=True):
            votes[y[at]] += np.exp(value / temperature)
        assert found == np.argsort(-votes, kind="stable")[:5].tolist()


class Adding(TorchDispatchMode):
    """How many sums were added to, and whether one of them was twice in one operation."""

    sums, twice = 0, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.scatter_add_.default:
            _, dim, index, _ = args
            found = index.sort(dim).values
            self.sums += index.numel()
            self.twice |= bool((found.diff(dim=dim) == 0).any())
        return func(*args, **(kwargs or {}))


def test_votes_are_added_one_by_one() -> None:
    """A GPU adds those of one operation in any order, and sums then differ from run to run."""
    g = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(60, 8, generator=g), torch.randn(17, 8, generator=g)
    with Adding() as adding:
        knn.vote(bank, torch.arange(60) % 3, queries, KnnSettings(ks=(5, 20)))
    assert (adding.sums, adding.twice) == (17 * 25, False)
