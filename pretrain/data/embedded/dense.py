"""Writes the demo data's PASCAL VOC years and Cityscapes: boxes and label maps.

Boxes are the tight extent of what can be seen of a digit, as in the real sets, and masks show those pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pretrain.data.embedded.drawing import (
    WORDS,
    Mask,
    Scene,
    SplitName,
    Thing,
    around,
    cycle,
    group,
    save,
    stream,
)

VOID = 255
CITIES: dict[SplitName, tuple[str, ...]] = {"train": ("northtown", "southtown"), "val": ("easttown",)}

# Image name -> each digit present -> whether one of them is not difficult.
Presence = dict[str, dict[int, bool]]


def write_voc(root: Path, images: Mapping[SplitName, int], side: int, seed: int) -> None:
    """Writes one year in the VOCdevkit layout: JPEGImages, Annotations, ImageSets/Main; 1 to 4 digits an
    image.

    The folder's name is the year's. VOC2012 also gets SegmentationClass (the first half of its train and of
    its val images; colour-mapped, 255 on a border of one pixel) and SegmentationClassAug (the other half of
    train; plain class numbers without a border). Image numbers of the splits are mixed, as in the real years.
    """
    rng = stream(seed, root.name)
    numbers = rng.permutation(sum(images.values())) + 1
    present: dict[str, Presence] = {}
    for split, amount in images.items():
        ids, numbers = sorted(numbers[:amount].tolist()), numbers[amount:]
        names = [f"{number:06d}" if root.name == "VOC2007" else f"2007_{number:06d}" for number in ids]
        scenes = {
            name: group(rng, split, first, side, around(rng, side), others=int(rng.integers(4)))
            for name, first in zip(names, cycle(rng, amount), strict=True)
        }
        segmented = names[: amount // 2] if root.name == "VOC2012" else []
        for name, scene in scenes.items():
            save(scene.image, root / f"JPEGImages/{name}.jpg")
            _write_xml(root / f"Annotations/{name}.xml", scene, name in segmented)
        if segmented:
            _write_segmentation(root, split, scenes, segmented)
        present[split] = {name: _presence(scene.things) for name, scene in scenes.items()}
    present["trainval"] = present["train"] | present["val"]
    for list_name, presence in present.items():
        _write_main(root / "ImageSets/Main", list_name, presence)


def _presence(things: Sequence[Thing]) -> dict[int, bool]:
    """For each digit present whether one of its things is not difficult."""
    return {k: any(t.label == k and not t.difficult for t in things) for k in {t.label for t in things}}


def _write_main(folder: Path, list_name: str, presence: Presence) -> None:
    """Writes <list>.txt and <class>_<list>.txt: 1 present, 0 present but only as difficult, -1 absent."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(presence)
    _write_lines(folder / f"{list_name}.txt", names)
    for digit, word in enumerate(WORDS):
        marks = [int(presence[name][digit]) if digit in presence[name] else -1 for name in names]
        lines = [f"{name} {mark:2d}" for name, mark in zip(names, marks, strict=True)]
        _write_lines(folder / f"{word}_{list_name}.txt", lines)


def _write_xml(path: Path, scene: Scene, segmented: bool) -> None:
    """Writes an annotation; box coordinates count from 1 and the last row and column belong to the box."""
    tree = ElementTree.Element("annotation")
    _add(tree, folder=path.parents[1].name, filename=f"{path.stem}.jpg")
    _add(ElementTree.SubElement(tree, "size"), width=scene.image.width, height=scene.image.height, depth=3)
    _add(tree, segmented=int(segmented))
    for thing in scene.things:
        node = ElementTree.SubElement(tree, "object")
        marks = {"truncated": int(thing.truncated), "difficult": int(thing.difficult)}
        _add(node, name=WORDS[thing.label], pose="Unspecified", **marks)
        x0, y0, x1, y1 = thing.box
        _add(ElementTree.SubElement(node, "bndbox"), xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
    ElementTree.indent(tree, "\t")
    path.parent.mkdir(exist_ok=True)
    path.write_text(ElementTree.tostring(tree, encoding="unicode") + "\n")


def _add(parent: ElementTree.Element, **texts: object) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = str(text)


def _write_segmentation(
    root: Path, split: SplitName, scenes: Mapping[str, Scene], segmented: list[str]
) -> None:
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    _write_lines(lists / f"{split}.txt", segmented)
    for name in segmented:
        image = Image.fromarray(label_map(scenes[name], void=True))
        image.putpalette(palette())
        save(image, root / f"SegmentationClass/{name}.png")
    if split == "train":
        others = [name for name in scenes if name not in segmented]
        _write_lines(lists / "aug.txt", others)
        for name in others:
            image = Image.fromarray(label_map(scenes[name], void=False))
            save(image, root / f"SegmentationClassAug/{name}.png")


def label_map(scene: Scene, void: bool) -> NDArray[np.uint8]:
    """Class numbers, uint8 (height, width): 0 backdrop, digit + 1, and with `void` 255 around each digit."""
    labels = np.zeros((scene.image.height, scene.image.width), np.uint8)
    for thing in reversed(scene.things):
        if void:
            labels[_grown(thing.mask)] = VOID
        labels[thing.mask] = thing.label + 1
    return labels


def _grown(mask: Mask) -> Mask:
    """The mask and every pixel that touches it along a side."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def palette() -> list[int]:
    """The PASCAL VOC colour map, 256 colours flattened as r, g, b, r, ...

    Bits 0, 3, 6 of the class number, lowest first, are the red value's bits from the highest down; bits 1, 4,
    7 are green's and bits 2, 5 blue's.
    """
    return [
        sum((number >> (3 * place + channel) & 1) << (7 - place) for place in range(3))
        for number in range(256)
        for channel in range(3)
    ]


def write_cityscapes(root: Path, train: int, val: int, height: int, seed: int) -> None:
    """Writes leftImg8bit and gtFine in {train,val}/<city>/, images twice as wide as high, 3 to 6 digits each.

    Of the 19 training numbers the labels use 0 (backdrop) and 1 to 10 (digit + 1); 255 surrounds the digits.
    """
    for split, amount in zip(CITIES, (train, val), strict=True):
        rng = stream(seed, f"cityscapes/{split}")
        for i, first in enumerate(cycle(rng, amount)):
            scene = group(rng, split, first, height, (2 * height, height), others=2 + int(rng.integers(4)))
            city = CITIES[split][i % len(CITIES[split])]
            name = f"{split}/{city}/{city}_{i:06d}_000019"
            save(scene.image, root / f"leftImg8bit/{name}_leftImg8bit.png")
            labels = Image.fromarray(label_map(scene, void=True))
            save(labels, root / f"gtFine/{name}_gtFine_labelTrainIds.png")


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))
