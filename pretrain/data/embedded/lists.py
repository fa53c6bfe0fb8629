"""Writes the demo data's classification sets: folders of JPEG images and lists of "path label" lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from pretrain.data.embedded.drawing import (
    TEXTURES,
    WORDS,
    SplitName,
    backdrop,
    compose,
    save,
    sprite,
    stream,
    texture,
)

SPLITS: tuple[SplitName, SplitName] = ("train", "val")
SPECIES = 2 * len(WORDS)  # of inat18: each digit upright, and lying on its side
# Least and greatest share of the side that a digit takes, and how many there are.
CROWDS = {"alone": (0.5, 0.8, 1), "three": (0.3, 0.4, 3)}
PLACES = tuple((texture_, crowd) for texture_ in TEXTURES for crowd in CROWDS)


def per_class(images: int, classes: int = 10) -> list[int]:
    """Images of each class where all classes have the same number, or the first ones one more."""
    return [images // classes + (label < images % classes) for label in range(classes)]


def long_tail(images: int, classes: int) -> list[int]:
    """Images of each class, falling as rank to the power -0.6, at least one each; they sum to `images`.

    What rounding down leaves over goes to the commonest class.
    """
    weights = np.arange(1, classes + 1) ** -0.6
    share = np.floor((images - classes) * weights / weights.sum()).astype(int) + 1
    share[0] += images - share.sum()
    amounts: list[int] = share.tolist()
    return amounts


def write_imagenet(root: Path, train: int, val: int, side: int, seed: int) -> None:
    """Writes {train,val}/<class>/*.JPEG and meta/{train,val,train_1percent,train_10percent}.txt.

    A class is a digit, its folder named like a synset; paths in the lists start below train/ or val/. The
    subsets are the first images of each class, their share rounded up, so that each class is in each subset.
    """
    for split, images in zip(SPLITS, (train, val), strict=True):
        rng = stream(seed, f"imagenet/{split}")
        names = [[f"n{k:08d}/n{k:08d}_{i}.JPEG" for i in range(n)] for k, n in enumerate(per_class(images))]
        for digit, paths in enumerate(names):
            for path in paths:
                save(_portrait(rng, split, digit, side), root / split / path)
        _write_list(root / f"meta/{split}.txt", names)
        if split == "train":
            _write_list(root / "meta/train_1percent.txt", [x[: math.ceil(len(x) / 100)] for x in names])
            _write_list(root / "meta/train_10percent.txt", [x[: math.ceil(len(x) / 10)] for x in names])


def write_inat18(root: Path, train: int, val: int, side: int, seed: int) -> None:
    """Writes train_val2018/<digit>/<label>/*.jpg and meta/{train,val}.txt with paths below train_val2018/.

    A species is a digit, upright or lying on its side: label = 2 digit + lying. As in iNaturalist 2018,
    training has a long tail, in an order of species that the seed decides, and validation shows all species
    alike.
    """
    tail = np.empty(SPECIES, int)
    tail[stream(seed, "inat18/order").permutation(SPECIES)] = long_tail(train, SPECIES)
    for split, amounts in zip(SPLITS, (tail.tolist(), per_class(val, SPECIES)), strict=True):
        rng = stream(seed, f"inat18/{split}")
        folders = [f"{WORDS[label // 2]}/{label}" for label in range(SPECIES)]
        names = _names(folders, split, amounts)
        for label, paths in enumerate(names):
            digit, lying = divmod(label, 2)
            for path in paths:
                save(_portrait(rng, split, digit, side, bool(lying)), root / "train_val2018" / path)
        _write_list(root / f"meta/{split}.txt", names)


def write_places205(root: Path, train: int, val: int, side: int, seed: int) -> None:
    """Writes images/<letter>/<place>/*.jpg and meta/{train,val}.txt with paths below images/.

    A place is a texture with one large digit or three small ones; which digits they are says nothing about
    it.
    """
    for split, images in zip(SPLITS, (train, val), strict=True):
        rng = stream(seed, f"places205/{split}")
        folders = [f"{kind[0]}/{kind}_{crowd}" for kind, crowd in PLACES]
        names = _names(folders, split, per_class(images, len(PLACES)))
        for (kind, crowd), paths in zip(PLACES, names, strict=True):
            for path in paths:
                sides = side * rng.uniform(*CROWDS[crowd])
                digits = [sprite(rng, split, int(rng.integers(10)), x) for x in sides.tolist()]
                save(compose(rng, texture(rng, kind, side, side), digits).image, root / "images" / path)
        _write_list(root / f"meta/{split}.txt", names)


def _names(folders: list[str], split: SplitName, amounts: list[int]) -> list[list[str]]:
    pairs = zip(folders, amounts, strict=True)
    return [[f"{folder}/{split}_{i:05d}.jpg" for i in range(amount)] for folder, amount in pairs]


def _portrait(
    rng: np.random.Generator, split: SplitName, digit: int, side: int, lying: bool = False
) -> Image.Image:
    one = sprite(rng, split, digit, side * rng.uniform(0.55, 0.9))
    if lying:
        one = replace(one, alpha=one.alpha.transpose(Image.Transpose.ROTATE_90))
    # Placed by its square cell: digits are narrow, and one placed by its ink would have so much room to the
    # side that clusters told left from right, not one digit from another.
    cell = Image.new("L", (max(one.alpha.size),) * 2)
    cell.paste(one.alpha, ((cell.width - one.alpha.width) // 2, (cell.height - one.alpha.height) // 2))
    return compose(rng, backdrop(rng, side, side), [replace(one, alpha=cell)]).image


def _write_list(path: Path, names: Sequence[Sequence[str]]) -> None:
    """Writes "<path> <label>" lines; names[label] are the paths of one class."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{name} {label}\n" for label, paths in enumerate(names) for name in paths))
