"""Images per second that one core decodes, crops, colours and normalises, ours against torchvision's recipe:
python -m tests.bench.feeding --help.

Both sides read the same JPEG files in the same order, in one process with one thread for everything, and stop
at batches of normalised fp32 tensors. Their side is the usual DataLoader: `Image.open().convert("RGB")`,
RandomResizedCrop, flip, and where the view asks for it colour jitter, gray and PIL's blur, then ToTensor and
Normalize. Decoding alone is what neither side can beat. Rounds alternate, so that a busy machine slows all
alike; seconds are the CPU's, the median round counts.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from pretrain.base.settings import changed
from pretrain.data import image
from pretrain.data.loader import Images, Loader
from pretrain.data.split import Split, from_folder
from pretrain.data.view import Input, View

GIVEN = Input(size=224, resize=256)
COLOUR = View(size=224, count=2, jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, gray=0.2, blur=0.5)
JOBS: dict[str, tuple[View, ...]] = {
    "1x224": (View(size=224),),
    "2x224 colour": (COLOUR,),
    "2x224+6x96 colour": (
        changed(COLOUR, scale=(0.14, 1.0)),
        changed(COLOUR, size=96, count=6, scale=(0.05, 0.14)),
    ),
}


def draw(folder: Path, n: int, size: int, quality: int) -> None:
    """n JPEGs of `size` px: large soft patches of colour under noise of a few levels, as photographs have."""
    rng = np.random.default_rng(0)
    for i in range(n):
        patches = rng.integers(0, 256, (size // 16, size // 16, 3), dtype=np.uint8)
        soft = Image.fromarray(patches).resize((size, size), Image.Resampling.BICUBIC)
        noisy = np.asarray(soft, dtype=np.float64) + rng.normal(0, 6, (size, size, 1))
        pixels = np.rint(noisy).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:05d}.jpg", quality=quality)


class Blur:
    """PIL's blur of a random radius, as the reference code of SwAV and DeepClusterV2 has it."""

    def __init__(self, radius: tuple[float, float]) -> None:
        self.radius = radius

    def __call__(self, picture: Image.Image) -> Image.Image:
        return picture.filter(ImageFilter.GaussianBlur(random.uniform(*self.radius)))


def recipe(view: View) -> Any:
    """torchvision's transforms of a view."""
    steps: list[Any] = [transforms.RandomResizedCrop(view.size, scale=view.scale)]
    steps.append(transforms.RandomHorizontalFlip(view.flip))
    if any(view.jitter):
        steps.append(transforms.RandomApply([transforms.ColorJitter(*view.jitter)], view.jitter_p))
    if view.gray:
        steps.append(transforms.RandomGrayscale(view.gray))
    if view.blur:
        steps.append(transforms.RandomApply([Blur(view.blur_sigma)], view.blur))
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(GIVEN.mean, GIVEN.std)])


class Theirs(Dataset[list[torch.Tensor]]):
    """One image as its views, as every user of torchvision writes it."""

    def __init__(self, split: Split, views: Sequence[View]) -> None:
        self.split = split
        self.recipes = [recipe(view) for view in views for _ in range(view.count)]

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> list[torch.Tensor]:
        with Image.open(self.split.path(i)) as file:
            picture = file.convert("RGB")
        return [made(picture) for made in self.recipes]


def sides(split: Split, views: Sequence[View], batch: int) -> dict[str, Callable[[], Any]]:
    """What is timed, by name: each goes once over the split."""
    images = Images(split, views, 0)
    images.cached = False  # every round decodes
    ours = Loader(images, GIVEN, torch.device("cpu"), workers=0)
    theirs = DataLoader(Theirs(split, views), batch_size=batch, num_workers=0)
    return {
        "ours": lambda: [len(b.index) for b in ours.batches(np.arange(len(split)), batch, 0)],
        "theirs": lambda: [len(b[0]) for b in theirs],
        "decode": lambda: [image.read(split, i).size for i in range(len(split))],
    }


def compare(name: str, split: Split, args: argparse.Namespace) -> None:
    timed = sides(split, JOBS[name], args.batch)
    rounds = []
    for _ in range(args.rounds + 1):
        took = {}
        for side, work in timed.items():
            begin = time.process_time()
            work()
            took[side] = time.process_time() - begin
        rounds.append(took)
    rate = {side: len(split) / statistics.median(took[side] for took in rounds[1:]) for side in timed}
    ratio = statistics.median(took["theirs"] / took["ours"] for took in rounds[1:])
    said = f"decode alone {rate['decode']:6.0f}"
    print(
        f"{name:18} ours {rate['ours']:6.0f}   theirs {rate['theirs']:6.0f}   ratio {ratio:.2f}   {said}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("jobs", nargs="*", default=list(JOBS), help=", ".join(JOBS))
    parser.add_argument("--folder", type=Path, help="your own images; by default they are drawn")
    parser.add_argument("--n", type=int, default=128, help="images that are drawn")
    parser.add_argument("--size", type=int, default=256, help="px of those")
    parser.add_argument("--quality", type=int, default=90)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for name in args.jobs:
        if name not in JOBS:
            parser.error(f"unknown job '{name}' (known: {', '.join(JOBS)})")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as drawn:
        if args.folder is None:
            draw(Path(drawn), args.n, args.size, args.quality)
        split = from_folder("bench", args.folder or Path(drawn))
        print(f"{len(split)} images, {len(os.sched_getaffinity(0))} cores, one of them used; images/s")
        for name in args.jobs:
            compare(name, split, args)


if __name__ == "__main__":
    main()
