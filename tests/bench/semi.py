"""Time of the semi-supervised grid with its settings in turn on the same batches, over one after the other.

python -m tests.bench.semi --help. Both sides train and test the same networks from images on disk. With
--decode, workers decode in every epoch, as for a set that does not fit in memory; without, each loader
decodes once. Accuracies of both are compared.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.contract.task import Task
from benchmarks.protocols.semi_supervised import protocol
from benchmarks.protocols.semi_supervised.run import grid
from benchmarks.protocols.semi_supervised.tuning import Accuracy, finetune
from pretrain.base.numerics import numerics
from pretrain.base.settings import changed
from pretrain.data import loader
from pretrain.data.sets import imagenet
from pretrain.data.view import Input, View
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from pretrain.train.recipe import Step


def images(root: Path, args: argparse.Namespace) -> None:
    """train/ and val/ with one folder per class: smooth noise, compressed as photographs are."""
    rng = np.random.default_rng(0)
    for part, count in (("train", args.images), ("val", args.images // 4)):
        for i in range(count):
            place = root / part / f"class{i % args.classes}"
            place.mkdir(parents=True, exist_ok=True)
            small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            small.resize((args.width, args.width * 3 // 4), Image.Resampling.BICUBIC).save(place / f"{i}.jpg")


def task(root: Path, args: argparse.Namespace) -> Task:
    """The published grid with fewer epochs, on these images and an untrained network."""
    given = Input(size=args.size, resize=args.size * 8 // 7)
    path = root / "backbone.safetensors"
    checkpoint.save(path, build(args.arch, given, 0), args.arch, {})
    splits = {role: imagenet.read(root, role) for role in ("train", "val")}
    paper = protocol.PAPER[0]
    settings = changed(
        paper.settings, view=View(size=args.size), epochs=args.epochs, schedule=Step(), batch_size=args.batch,
        honest=False, precision=args.precision,
    )  # fmt: skip
    return Task(
        protocol=replace(paper, settings=settings), checkpoint=path, backbone=checkpoint.load(path), splits=splits,
        fingerprints={}, roots={}, work=root, cache=root, seed=0, device=torch.device(args.device),
        report=lambda *_: None,
    )  # fmt: skip


def timed(work: Callable[[], list[Accuracy | None]]) -> tuple[float, float, list[Accuracy | None]]:
    """Seconds by the clock, of the processor in this process without its workers, and what it found."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return time.perf_counter() - wall, time.process_time() - cpu, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="resnet10_narrow")
    parser.add_argument("--size", type=int, default=32, help="side of the view, px")
    parser.add_argument("--width", type=int, default=500, help="of the images on disk, px")
    parser.add_argument("--images", type=int, default=64, help="for training, a quarter of it for test")
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--decode", action="store_true", help="Decode in every epoch, as 13,000 photographs.")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.decode:
        loader.CACHE_BYTES = 0
    with tempfile.TemporaryDirectory() as folder, numerics("fp32"):
        images(Path(folder), args)
        compare(task(Path(folder), args))


def compare(given: Task) -> None:
    """Prints both times and their ratio."""
    trials = grid(given)
    finetune(given, trials[:1])
    row = timed(lambda: [finetune(given, [trial])[0] for trial in trials])
    ours = timed(lambda: finetune(given, trials))
    for name, (wall, cpu, _) in (("one by one", row), ("in turn", ours)):
        print(f"{len(trials)} settings {name:10} {wall:8.2f} s wall {cpu:8.2f} s CPU of this process")
    same = "equal" if row[2] == ours[2] else "DIFFERENT"
    print(f"ratio {row[0] / ours[0]:.2f} by the clock, {row[1] / ours[1]:.2f} of CPU; accuracies {same}")


if __name__ == "__main__":
    main()
