"""Speed of k-means against faiss on the same rows from the same centroids: python tests/bench/kmeans.py
--help.

Runs are interleaved and the ratio is taken pair by pair, so that a busy machine slows both sides alike.
Labels differ only where an empty cluster was refilled: the two draw different donors. faiss always computes
in fp32; without it, ours alone is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time

import torch

from pretrain.cluster.kmeans import Clusters, kmeans
from pretrain.cluster.nearest import Precision
from pretrain.train.recipe import KmeansBackend


def rows_around_centres(n: int, d: int, k: int) -> torch.Tensor:
    """n unit rows around k/2 centres, as features are after a few epochs."""
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(max(1, k // 2), d, generator=g)
    x = centres[torch.randint(len(centres), (n,), generator=g)] + torch.randn(n, d, generator=g)
    return torch.nn.functional.normalize(x)


def timed(
    backend: KmeansBackend, x: torch.Tensor, start: torch.Tensor, args: argparse.Namespace
) -> tuple[float, Clusters]:
    precision: Precision = args.precision if backend == "torch" else "fp32"
    begin = time.perf_counter()
    found = kmeans(
        x,
        args.k,
        args.iterations,
        args.metric,
        start=start,
        empty="split",
        precision=precision,
        backend=backend,
    )
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200_000)
    parser.add_argument("--d", type=int, default=128)
    parser.add_argument("--k", type=int, default=3000)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--metric", choices=("l2", "cosine"), default="l2")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x = rows_around_centres(args.n, args.d, args.k).to(args.device)
    start = x[torch.randperm(args.n, generator=torch.Generator().manual_seed(1))[: args.k].to(args.device)]
    if x.is_cuda:
        timed("torch", x, start, args)  # memory, kernels
    ratios = compare(x, start, args)
    if ratios:
        print(f"median faiss/torch {statistics.median(ratios):.2f} with {args.threads} thread(s)")


def compare(x: torch.Tensor, start: torch.Tensor, args: argparse.Namespace) -> list[float]:
    """Prints a line per repeat; returns the time of faiss over ours in each, nothing without faiss."""
    installed = importlib.util.find_spec("faiss") is not None
    if installed:
        import faiss

        faiss.omp_set_num_threads(args.threads)
    flop = 2 * args.n * args.k * args.d * (args.iterations + 1)
    ratios = []
    for _ in range(args.repeats):
        ours, a = timed("torch", x, start, args)
        said = f"torch {ours:7.2f} s ({flop / ours / 1e9:6.0f} GFLOP/s)   objective {a.objective[-1]:.6f}"
        if installed:
            theirs, b = timed("faiss", x, start, args)
            ratios.append(theirs / ours)
            same = float((a.labels == b.labels).float().mean())
            said += (
                f"   faiss {theirs:7.2f} s   objective {b.objective[-1]:.6f}   same labels {100 * same:.3f} %"
            )
            said += f"   faiss/torch {ratios[-1]:.2f}"
        print(said, flush=True)
    return ratios


if __name__ == "__main__":
    main()
