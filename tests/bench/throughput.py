"""Images per second of a whole training step against the bare network: python tests/bench/throughput.py
--help.

Both sides take the same prepared views: no decoding, no augmentation. The bare side is forward and backward
of the method's own network (backbone, neck and head) with a sum as loss, without optimiser, labels or
memories. Steps of the two sides alternate, so that a busy machine slows both alike. On CUDA, ResNet-50 at 224
px in bf16 with 256 images per step, then k-means of ImageNet's size against the time that its multiplications
take at the GPU's peak; elsewhere the demo recipes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from pretrain.base import registry
from pretrain.base.numerics import autocast
from pretrain.base.settings import changed
from pretrain.cluster.kmeans import kmeans
from pretrain.cluster.nearest import Precision
from pretrain.data.loader import Batch
from pretrain.data.split import Split
from pretrain.train import loop, method, state
from pretrain.train.method import At
from pretrain.train.recipe import Recipe
from pretrain.train.state import Run
from zoo.suites.suite import METHODS, recipes

TRAINED = ("odc", "deepcluster", "deepclusterv2", "swav", "supervised")


def clustered(made: Any, recipe: Any, n: int, device: torch.device) -> None:
    """Stands in for the clustering that a step expects: labels, prototypes and memories of n images."""
    g = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> torch.Tensor:
        return nn.functional.normalize(torch.randn(shape, generator=g), dim=-1).to(device)

    if hasattr(made, "memory"):
        from pretrain.methods.odc import memory as memories

        labels = (torch.arange(n) % recipe.clusters).to(device)
        made.memory = memories.remember(unit(n, recipe.dim), labels, recipe.clusters)
    if isinstance(getattr(made, "prototypes", None), torch.Tensor):
        made.prototypes = unit(*made.prototypes.shape)
    if isinstance(getattr(made, "labels", None), torch.Tensor):
        classes = getattr(recipe, "clusters", 0) or getattr(recipe, "prototypes", 0) or 10
        made.labels = torch.randint(classes, made.labels.shape, generator=g).to(made.labels)


def prepared(name: str, recipe: Recipe, n: int, device: torch.device, out: Path) -> tuple[Run, Batch]:
    """A training whose clustering is a stand-in, and one batch of noise."""
    split = Split("noise", out, ("",) * n, np.zeros(n, dtype=np.int64), ("0",))
    with mock.patch.object(method.find(name), "start"):
        run = state.begin(name, recipe, split, out, 0, device, lambda *_: None)
    clustered(run.method, recipe, n, device)
    sides = [view.size for view in recipe.views for _ in range(view.count)]
    views = [torch.randn(recipe.batch_size, 3, side, side, device=device) for side in sides]
    return run, Batch(torch.randperm(n)[: recipe.batch_size].to(device), views)


def bare(run: Run, batch: Batch) -> None:
    """Forward and backward of the network alone."""
    views = [view.contiguous(memory_format=torch.channels_last) for view in batch.views]
    with autocast(run.data.device, run.recipe.precision):
        out = run.net(views)
    run.optimizer.zero_grad(set_to_none=True)
    (out[0] if isinstance(run.method.net.head, nn.Identity) else out[1]).sum().backward()


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def chosen(name: str, device: torch.device) -> Recipe:
    """On CUDA the first published recipe whose views all have 224 px, at 256 images per step; else the
    demo's.
    """
    variants = recipes(name)
    if device.type != "cuda":
        return variants["demo"][0]
    whole = next(r for r in variants["paper"] if all(view.size == 224 for view in r.views))
    return changed(whole, batch_size=256, bn_group=0)


def cluster(args: argparse.Namespace, device: torch.device) -> None:
    """Seconds of a k-means, all of it, over those of its 2 N K D multiplications and additions per E-step."""
    n, k, d, iterations = args.rows, args.clusters, args.dim, args.iterations
    x = nn.functional.normalize(torch.randn(n, d, device=device))
    precision: Precision = "bf16" if args.precision == "bf16" else "fp32"

    def work(rounds: int) -> None:
        kmeans(x, k, rounds, "l2", empty="split", precision=precision)

    work(1)  # memory, kernels
    took = seconds(lambda: work(iterations), device)
    floor = 2 * n * k * d * (iterations + 1) / args.peak
    said = f"N {n} K {k} D {d} {precision} {iterations} iterations"
    print(
        f"k-means        {took:8.2f} s   floor {floor:8.2f} s   ratio {took / floor:.2f}   {said}", flush=True
    )


def compare(name: str, args: argparse.Namespace, device: torch.device) -> None:
    recipe = chosen(name, device)
    recipe = changed(recipe, batch_size=args.batch or recipe.batch_size, precision=args.precision)
    with tempfile.TemporaryDirectory() as out:
        run, batch = prepared(name, recipe, args.n, device, Path(out))
    pairs = []
    for step in range(args.warmup + args.steps):
        whole = seconds(lambda step=step: loop.step(run, batch, At(0, step), recipe.lr), device)  # type: ignore[misc]
        alone = seconds(lambda: bare(run, batch), device)
        if step >= args.warmup:
            pairs.append((whole, alone))
    whole, alone = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(alone / whole for whole, alone in pairs)
    b = recipe.batch_size
    print(
        f"{name:14} {b / whole:8.0f} images/s   network alone {b / alone:8.0f}   ratio {ratio:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("methods", nargs="*", default=TRAINED)
    parser.add_argument("--n", type=int, default=20_000, help="images in the memories")
    parser.add_argument(
        "--batch", type=int, default=0, help="images per step, 0: 256 on CUDA, else the recipe's"
    )
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument(
        "--peak", type=float, default=989e12, help="FLOP/s of the GPU, dense, in that precision"
    )
    parser.add_argument("--rows", type=int, default=1_281_167, help="of k-means, as are the next three")
    parser.add_argument("--clusters", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    known = registry.names(METHODS)
    for name in args.methods:
        if name not in known:
            parser.error(f"unknown method '{name}' (known: {', '.join(known)})")
        compare(name, args, torch.device(args.device))
    if torch.device(args.device).type == "cuda":
        cluster(args, torch.device(args.device))


if __name__ == "__main__":
    main()
