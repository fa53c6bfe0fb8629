"""ODC's memory update at ImageNet scale, ours beside the literal one: python -m tests.bench.odc_memory

N = 1,281,167 images, K = 10,000 clusters, D = 256, batch 512. The literal reference recounts the histogram
over all N labels twice at every iteration, recomputes all centroids from all features every tenth and assigns
by a plain matrix product and argmax, as the released code does. Both are amortised over ten iterations.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pretrain.methods.odc import memory as memories


def literal_refresh(F: Tensor, y: Tensor, C: Tensor) -> Tensor:
    """All centroids from all features: sort the labels, average one slice per cluster."""
    order = y.argsort()
    ends = torch.bincount(y, minlength=len(C)).cumsum(0).tolist()
    new, start = C.clone(), 0
    for k, end in enumerate(ends):
        if end > start:
            new[k] = F[order[start:end]].mean(0)
        start = end
    return new


def seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (
        ("images", 1_281_167),
        ("clusters", 10_000),
        ("dim", 256),
        ("batch", 512),
        ("threads", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    size = parser.parse_args()
    torch.set_num_threads(size.threads)
    g = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(size.images, size.dim, generator=g))
    memory = memories.remember(
        features, torch.randint(size.clusters, (size.images,), generator=g), size.clusters
    )
    z = torch.nn.functional.normalize(torch.randn(size.batch, size.dim, generator=g))

    def index() -> Tensor:
        return torch.randint(size.images, (size.batch,), generator=g)

    def ours() -> None:
        memories.update(memory, index(), z, 0.5, "dot")
        int((memory.h < 20).sum())

    update = seconds(ours, 50)
    refresh = seconds(lambda: memories.refresh(memory), 10)
    recount = seconds(lambda: torch.bincount(memory.y, minlength=size.clusters), 10)
    full = seconds(lambda: literal_refresh(memory.F, memory.y, memory.C), 1)
    assign = seconds(lambda: (z @ memory.C.T).argmax(1), 20)
    own_assign = seconds(lambda: memories.assign(memory.C, z, "dot"), 20)
    mine, theirs = update + refresh / 10, assign + 2 * recount + full / 10
    print(
        f"ours:    assign {own_assign * 1e3:.2f} ms, rest of the update {(update - own_assign) * 1e3:.2f} ms, "
        f"refresh {refresh * 1e3:.2f} ms; per iteration {mine * 1e3:.2f} ms"
    )
    print(
        f"literal: assign {assign * 1e3:.2f} ms, recount {recount * 1e3:.2f} ms twice, refresh {full * 1e3:.0f} ms;",
        end="",
    )
    print(f" per iteration {theirs * 1e3:.2f} ms")
    print(f"ratio of the whole update: {theirs / mine:.1f}")
    book = update - own_assign + refresh / 10
    print(f"ratio without the assignment, which both need: {(theirs - assign) / book:.1f}")


if __name__ == "__main__":
    main()
