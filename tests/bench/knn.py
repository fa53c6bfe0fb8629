"""Speed and memory of the nearest rows of a bank on disk: python -m tests.bench.knn --help.

Three ways to the same rows: ours, block by block; torch with the bank and its similarities in memory, in
chunks of queries; faiss's exact index, where it is installed. At the scale of the paper: --n 1281167 --d 2048
--queries 50000.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.shelf import Array
from benchmarks.solvers.neighbours import BLOCK_BYTES, nearest, tile

Search = Callable[[Array, Tensor, int], Tensor]


def written(path: Path, n: int, d: int) -> Array:
    """A bank of n random rows around a hundred centres, on disk."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((100, d), dtype=np.float32)
    bank = np.lib.format.open_memmap(path, "w+", np.float32, (n, d))
    for at in range(0, n, 10_000):
        rows = bank[at : at + 10_000]
        rows[:] = rng.standard_normal(rows.shape, dtype=np.float32) + centres[rng.integers(0, 100, len(rows))]
    bank.flush()
    found: Array = np.load(path, mmap_mode="r")
    return found


def ours(bank: Array, queries: Tensor, k: int) -> Tensor:
    block = max(k, BLOCK_BYTES // (4 * bank.shape[1]))
    return nearest(bank, queries, k, tile(len(queries), min(len(bank), block), 1 << 27))[1]


def whole(bank: Array, queries: Tensor, k: int) -> Tensor:
    held = F.normalize(torch.from_numpy(np.array(bank)).to(queries.device))
    parts = F.normalize(queries).split(max(1, (1 << 27) // (4 * len(bank))))
    return torch.cat([(part @ held.T).topk(k, dim=1).indices for part in parts])


def with_faiss(bank: Array, queries: Tensor, k: int) -> Tensor:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(bank.shape[1])
    index.add(F.normalize(torch.from_numpy(np.array(bank))).numpy())
    return torch.from_numpy(index.search(F.normalize(queries.cpu()).numpy(), k)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--k", type=int, default=200)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--ours-alone", action="store_true", help="Show the memory of ours without the others."
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    ways: dict[str, Search] = {"ours": ours}
    if not args.ours_alone:
        ways["whole"] = whole
        if importlib.util.find_spec("faiss"):
            ways["faiss"] = with_faiss
    with tempfile.TemporaryDirectory() as folder:
        bank = written(Path(folder) / "bank.npy", args.n, args.d)
        queries = torch.from_numpy(np.array(bank[: args.queries])).to(args.device) + 0.1
        compare(ways, bank, queries, min(args.k, args.n))


def compare(ways: dict[str, Search], bank: Array, queries: Tensor, k: int) -> None:
    """Prints time, rate and peak memory so far of each way, and how many rows it shares with the first; then
    the time of each over that of the first.
    """
    first, times = None, {}
    flop = 2 * len(bank) * len(queries) * bank.shape[1]
    for name, search in ways.items():
        begin = time.perf_counter()
        found = search(bank, queries, k).cpu()
        took = times[name] = time.perf_counter() - begin
        first = found if first is None else first
        same = float((found == first).double().mean())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        said = f"{took:7.2f} s ({flop / took / 1e9:6.0f} GFLOP/s)   peak so far {peak:.2f} GB"
        print(f"{name:6} {said}   same rows {100 * same:.3f} %", flush=True)
    mine, *_ = times.values()
    print("ratio", ", ".join(f"{name} {took / mine:.2f}" for name, took in times.items()))


if __name__ == "__main__":
    main()
