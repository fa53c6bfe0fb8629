"""Segmentation masks, read and checked before training.

Counts for the record: `masks_all_ignored` (nothing to learn or score in them), `classes_absent` (ids that no
mask of the part has; the mean leaves them out at test).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.mm.checks.image_files import BROKEN, listed, named, sizes
from pretrain.base.faults import Fault
from pretrain.data.split import walk

IGNORED = 255
CITY_IMAGE, CITY_MASK = "_leftImg8bit.png", "_gtFine_labelTrainIds.png"


class Pair(NamedTuple):
    image: Path
    mask: Path


def voc_list(root: Path, name: str) -> Path:
    """The file of a list NAME, below VOC2012."""
    return root / "ImageSets" / "Segmentation" / f"{name}.txt"


def voc_pairs(root: Path, name: str, folder: str) -> list[Pair]:
    """Images of ImageSets/Segmentation/NAME.txt with their masks from `folder`, below VOC2012."""
    ids = listed(voc_list(root, name))
    return [Pair(root / "JPEGImages" / f"{i}.jpg", root / folder / f"{i}.png") for i in ids]


def cityscapes_pairs(root: Path, split: str) -> list[Pair]:
    """All images of leftImg8bit/SPLIT with their train-id masks from gtFine/SPLIT, by path; cities may be
    links.

    Raises:
        Fault: data-missing, where there is no image, or only masks with the original label ids.
    """
    folder = root / "leftImg8bit" / split
    found = walk(folder) if folder.is_dir() else ()
    images = sorted(at / name for at, names in found for name in names if name.endswith(CITY_IMAGE))
    if not images:
        raise Fault("data-missing", f"no *{CITY_IMAGE} below {folder}")
    below = [image.relative_to(root / "leftImg8bit") for image in images]
    masks = [root / "gtFine" / b.parent / (b.name.removesuffix(CITY_IMAGE) + CITY_MASK) for b in below]
    raw = masks[0].with_name(masks[0].name.replace("labelTrainIds", "labelIds"))
    if not masks[0].exists() and raw.exists():
        raise Fault(
            "data-missing",
            f"{masks[0]} is not there, only labelIds; convert with cityscapesscripts' csCreateTrainIdLabelImgs",
        )
    return [Pair(image, mask) for image, mask in zip(images, masks, strict=True)]


def check(pairs: Sequence[Pair], classes: int) -> Counter[str]:
    """The counts of this module over the masks, each of which is decoded.

    Raises:
        Fault: naming the first masks that are absent, broken, of another size than the image, in colour, or
            hold an id that is neither below `classes` nor 255; or if not one pixel of all masks has a class.
    """
    shapes = sizes([pair.image for pair in pairs])
    sizes([pair.mask for pair in pairs])
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        histograms = list(pool.map(_histogram, (pair.mask for pair in pairs), shapes))
    present = np.stack(histograms) > 0
    foreign = present[:, classes:IGNORED]
    if foreign.any():
        wrong = [pairs[int(i)].mask for i in np.flatnonzero(foreign.any(axis=1))]
        ids = (np.flatnonzero(foreign.any(axis=0)) + classes).tolist()
        raise Fault(
            "data-corrupt",
            f"{len(wrong)} of {len(pairs)} masks hold ids {ids[:5]}, expected 0 to {classes - 1} or {IGNORED}: "
            f"{named(wrong)}; correct them or change classes",
        )
    ignored = int((~present[:, :classes].any(axis=1)).sum())
    if ignored == len(pairs):
        raise Fault(
            "data-corrupt",
            f"all {len(pairs)} masks hold {IGNORED} alone, expected pixels of 0 to {classes - 1}: "
            f"{named(pair.mask for pair in pairs)}; correct them",
        )
    absent = int((~present[:, :classes].any(axis=0)).sum())
    return Counter(masks_all_ignored=ignored, classes_absent=absent)


def _histogram(mask: Path, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    try:
        return _counted(mask, size)
    except BROKEN as error:
        raise Fault("data-corrupt", f"{mask} cannot be decoded: {error}; fetch it again") from None


def _counted(mask: Path, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    with Image.open(mask) as image:
        if image.mode not in ("L", "P"):
            found = "is not of 8 bits a pixel" if image.mode[0] in "1IF" else "is in colour"
            said = f"{mask} {found} ({image.mode}); expected one class id per pixel, in 8 bits"
            raise Fault("data-corrupt", said)
        if image.size != size:
            raise Fault("data-corrupt", f"{mask} is {image.size}, its image {size} pixels (width, height)")
        counted: npt.NDArray[np.int64] = np.bincount(np.asarray(image).reshape(-1), minlength=256)
        return counted
