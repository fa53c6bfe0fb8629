"""`zoo cluster` and `zoo embed`: what a model makes of a folder of images that it has never seen."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.base.lease import lease
from pretrain.cluster.kmeans import kmeans
from pretrain.data.split import Split
from pretrain.nets.backbone import Backbone
from pretrain.nets.clusters import Clustering
from zoo.clusters import features, sheets, table
from zoo.clusters.model import Model
from zoo.clusters.rows import Growing, Values

ITERATIONS = 50  # of k-means
QUIET_SECONDS = 10.0
SHOWN = 20  # bad images that are printed


@dataclass(frozen=True)
class Asked:
    """What to do with a folder. clusters: K of k-means, 0: those that were kept; head: of the kept ones."""

    folder: Path
    out: Path
    clusters: int = 0
    head: int = 0
    seed: int = 0
    skip_bad: bool = False


def cluster(model: Model, asked: Asked, drawn: Path | None = None, most: int = sheets.IMAGES) -> None:
    """Writes which cluster every image belongs to, and a sheet per cluster into the folder `drawn`. Raises
    Fault.
    """
    table.checked(asked.out, (table.CSV, table.PARQUET))
    with _alone(asked.out):
        found, growing, split = _by_kmeans(model, asked) if asked.clusters else _by_kept(model, asked)
        table.assignments(asked.out, split.files, found, growing.bad)
        if drawn is not None:
            sheets.write(drawn, split, found, growing.bad, most)
        growing.forget()
    _say_bad(asked, split.files, growing.bad)
    used = len({int(one) for one in found[:, 0] if one == one})
    print(f"written: {asked.out} ({len(split) - len(growing.bad)} images in {used} clusters)")
    if drawn is not None:
        print(f"written: {drawn} ({used} sheets)")


def embed(model: Model, asked: Asked, layer: str) -> None:
    """Writes the features of every image with the files' names. Raises Fault."""
    table.checked(asked.out, (table.NPY, table.PARQUET))
    with _alone(asked.out):
        split = features.images(asked.folder)
        table.require_listable(asked.out, split.files)
        reading = features.Reading(model, split, features.taking(layer, model), _said(layer, model))
        growing = _skipping(reading, asked).into(asked.out, Told("features"))
        width = growing.shape.width
        table.features(asked.out, split.files, growing)
        growing.forget()
    _say_bad(asked, split.files, growing.bad)
    print(f"written: {asked.out} ({len(split) - len(growing.bad)} images, {width} numbers each)")


def _said(layer: str, model: Model) -> str:
    return f"features {layer} {model.kept}".strip() if layer == features.NECK else f"features {layer}"


def _skipping(reading: features.Reading, asked: Asked) -> features.Reading:
    return replace(reading, skip_bad=asked.skip_bad)


def _by_kept(model: Model, asked: Asked) -> tuple[Values, Growing, Split]:
    """Assignments (N, 4) by what the model's method left."""
    kept = model.clustering
    if kept is None:
        said = f"its method left no clusters beside it; {features.advice(model.path)}"
        raise Fault("data-missing", f"{model.path}: {said}")
    if not 0 <= asked.head < len(kept.centroids):
        said = f"expected a head from 0 to {len(kept.centroids) - 1}, got {asked.head}"
        raise Fault("bad-config", f"--head: {said}")
    on_device = kept.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    def take(backbone: Backbone, x: Tensor) -> Tensor:
        return features.nearest(on_device, on_device.project(backbone, x), asked.head)

    split = features.images(asked.folder)
    reading = features.Reading(model, split, take, f"clusters {model.kept} {asked.head}", "float64")
    growing = _skipping(reading, asked).into(asked.out, Told("images assigned"))
    return growing.array(), growing, split


def _by_kmeans(model: Model, asked: Asked) -> tuple[Values, Growing, Split]:
    """Assignments (N, 4) by k-means on the folder's own features at unit length."""
    split = features.images(asked.folder)

    def take(backbone: Backbone, x: Tensor) -> Tensor:
        return F.normalize(backbone(x).float())

    reading = features.Reading(model, split, take, "unit features")
    growing = _skipping(reading, asked).into(asked.out, Told("features"))
    good = [i for i in range(len(split)) if i not in growing.bad]
    values = np.full((len(split), 4), np.nan)
    with _rows(growing, good) as rows:
        values[good] = _assigned(_on_device(torch.from_numpy(rows)), asked).numpy()
    return values, growing, split


@contextmanager
def _rows(growing: Growing, good: list[int]) -> Iterator[Values]:
    """The good rows, memory-mapped: of all that there are, or of a copy."""
    if not growing.bad:
        yield growing.array(private=True)
        return
    copy = growing.rows.with_suffix(".good")
    try:
        with files.explained(copy):
            table.copied(growing.array(), good, copy)
        yield np.load(copy, mmap_mode="c")
    finally:
        copy.unlink(missing_ok=True)


def _assigned(x: Tensor, asked: Asked) -> Tensor:
    """(n, 4) float64 on the CPU, of unit rows x (n, D). Raises Fault where there are fewer rows than
    clusters.
    """
    if asked.clusters > len(x):
        said = f"--clusters {asked.clusters}: expected at most as many as images, got {len(x)} images"
        raise Fault("bad-config", f"{said} in {asked.folder}; lower it")
    centroids = kmeans(x, asked.clusters, ITERATIONS, "cosine", asked.seed, empty="split").centroids
    spherical = Clustering("cosine", centroids[None])
    return torch.cat([features.nearest(spherical, part, 0).cpu() for part in x.split(features.BATCH)])


def _on_device(x: Tensor) -> Tensor:
    """The rows on a GPU where there is one with room for them."""
    if not torch.cuda.is_available():
        return x
    free, _ = torch.cuda.mem_get_info()
    return x.cuda() if x.numel() * x.element_size() < free // 2 else x


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One process at a time writes an output."""
    lock = out.with_name(f".{out.name}.lock")
    with lease(lock, waiting=lambda who: print(f"{who} is writing {out}; waiting", file=sys.stderr)):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


class Told:
    """Says on stderr how far it is, now and then."""

    def __init__(self, what: str) -> None:
        self.what, self.last = what, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self.last > QUIET_SECONDS:
            self.last = time.monotonic()
            print(f"{self.what}: {done} of {total}", file=sys.stderr)


def _say_bad(asked: Asked, names: tuple[str, ...], bad: dict[int, str]) -> None:
    place = table.listed_bad(asked.out, asked.folder, names, bad)
    for i in sorted(bad)[:SHOWN]:
        print(f"left out: {bad[i]}", file=sys.stderr)
    if place is not None:
        print(
            f"left out: {len(bad)} of {len(names)} images, which cannot be read; listed in {place}",
            file=sys.stderr,
        )
