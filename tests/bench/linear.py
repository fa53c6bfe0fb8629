"""Time of linear evaluation over that of the bare frozen forward of the same images.

python -m tests.bench.linear --help. Batches are prepared beforehand (no decoding, no augmentation), and steps
of the two sides alternate. `profile` shows where the rest goes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.contract.task import Task
from benchmarks.protocols.linear import protocol
from benchmarks.protocols.linear.run import heads
from benchmarks.solvers.heads import Evaluation
from pretrain.base.numerics import numerics
from pretrain.base.settings import changed
from pretrain.data.loader import Batch
from pretrain.data.split import Split
from pretrain.data.view import Input
from pretrain.nets.archs import build


@dataclass(frozen=True)
class Prepared:
    """Stands in for a loader: one batch of prepared views."""

    batch: Batch

    def batches(self, *_: Any) -> Iterator[Batch]:
        """It, once."""
        yield self.batch


def evaluation(args: argparse.Namespace, folder: Path) -> tuple[Evaluation, list[Tensor]]:
    """The seven heads of ImageNet linear on an untrained network, and the views of their one batch."""
    device, given = torch.device(args.device), Input(size=args.size, resize=args.size)
    paper = protocol.PAPER[0]
    settings = changed(paper.settings, batch_size=args.batch, precision=args.precision)
    if args.views == 1:
        settings = changed(settings, views=settings.views[:1])
    labels = np.arange(args.batch) % args.classes
    split = Split("x", folder, ("",) * args.batch, labels, tuple(map(str, range(args.classes))))
    backbone = build(args.arch, given, 0).to(device).to(memory_format=torch.channels_last)
    task = Task(
        protocol=replace(paper, settings=settings), checkpoint=folder, backbone=backbone,
        splits={"train": split, "val": split}, fingerprints={}, roots={}, work=folder, cache=folder, seed=0,
        device=device, report=lambda *_: None,
    )  # fmt: skip
    made = Evaluation(task, heads(settings))
    views = [torch.randn(args.batch, 3, args.size, args.size, device=device) for _ in range(args.views)]
    made.trainer = Prepared(Batch(torch.arange(args.batch, device=device), views))  # type: ignore[assignment]
    return made, views


def timed(device: torch.device, work: Callable[[], None]) -> float:
    """Seconds of the GPU, or of the processor in all threads: on a shared machine the clock says little."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    begin = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--views", type=int, choices=(1, 2), default=2, help="2: ImageNet; 1: the other sets")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="Print the most expensive operations too.")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder, numerics("fp32"):
        made, views = evaluation(args, Path(folder))
        compare(made, views, args)


def compare(made: Evaluation, views: list[Tensor], args: argparse.Namespace) -> None:
    """Prints both times and their ratio, step by step, and the median ratio."""
    device, ratios = made.task.device, []

    def bare() -> None:
        x = torch.cat(views).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, args.precision == "bf16"):
            made.task.backbone.eval()(x)

    timed(device, bare)
    timed(device, lambda: made.train(0))
    for _ in range(args.repeats):
        alone, whole = timed(device, bare), timed(device, lambda: made.train(0))
        ratios.append(whole / alone)
        print(f"forward {alone:8.3f} s   evaluation {whole:8.3f} s   ratio {ratios[-1]:.3f}", flush=True)
    print(f"median {statistics.median(ratios):.3f}")
    if args.profile:
        with torch.profiler.profile() as seen:
            made.train(0)
        print(
            seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40)
        )


if __name__ == "__main__":
    main()
