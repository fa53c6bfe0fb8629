"""A picture of every cluster: the images nearest to its centroid, nearest first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.data import image
from pretrain.data.split import Split
from zoo.clusters.rows import Values

ACROSS = 8  # images in a row of a sheet
SIDE = 96  # px of an image
GAP = 4  # px
IMAGES = 64  # on a sheet at most


def write(folder: Path, split: Split, found: Values, bad: dict[int, str], most: int = IMAGES) -> list[Path]:
    """Writes cluster-N.png for every cluster with images; found: (N, 4) as `features.nearest` gives them.
    Sheets of an earlier call go. Raises Fault on a full disk.
    """
    with files.explained(folder):
        if not folder.exists():  # one that is there may hold images of the user's
            files.for_results(folder)
        for old in folder.glob("cluster-[0-9]*.png"):
            old.unlink()
    return [_written(folder, split, cluster, ids) for cluster, ids in nearest(found, bad, most)]


def nearest(found: Values, bad: dict[int, str], most: int) -> Iterator[tuple[int, list[int]]]:
    """Every cluster with images, and its at most `most` nearest, by distance, then by number."""
    good = np.setdiff1d(np.arange(len(found)), list(bad))
    clusters, distances = found[good, 0].astype(np.int64), found[good, 1]
    order = np.lexsort((good, distances, clusters))
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    for first, last in zip(starts, [*starts[1:], len(order)], strict=True):
        yield int(clusters[order[first]]), good[order[first:last][:most]].tolist()


def _written(folder: Path, split: Split, cluster: int, ids: list[int]) -> Path:
    path = folder / f"cluster-{cluster:05d}.png"
    sheet = drawn([_tile(split, i) for i in ids])
    files.write(path, lambda aside: sheet.save(aside, format="PNG"))
    return path


def _tile(split: Split, i: int) -> Image.Image:
    try:
        return ImageOps.fit(image.read(split, i), (SIDE, SIDE))
    except Fault:  # it has gone since it was assigned
        return Image.new("RGB", (SIDE, SIDE), "grey")


def drawn(tiles: list[Image.Image]) -> Image.Image:
    """Tiles in rows on white."""
    across, step = min(ACROSS, len(tiles)), SIDE + GAP
    down = -(-len(tiles) // across)
    sheet = Image.new("RGB", (across * step + GAP, down * step + GAP), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (GAP + number % across * step, GAP + number // across * step))
    return sheet
