"""Writes the demo data's COCO set: instances outlined as polygons, crowds as run lengths, both in JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.data.embedded.drawing import (
    WORDS,
    Mask,
    Scene,
    SplitName,
    Thing,
    around,
    backdrop,
    compose,
    cycle,
    group,
    save,
    stream,
)

CATEGORY_IDS = tuple(range(1, 20, 2))  # with gaps, like the real set, whose 80 classes have numbers up to 90
SPLITS: tuple[SplitName, SplitName] = ("train", "val")

Point = tuple[int, int]


def write_coco(root: Path, train: int, val: int, side: int, seed: int) -> None:
    """Writes {train,val}2017/*.jpg and annotations/instances_{train,val}2017.json, 1 to 4 digits in an image.

    About one image in ten also has a crowd, `iscrowd` 1 and given as run lengths; one in 25 shows nothing at
    all.
    """
    (root / "annotations").mkdir(parents=True)
    for split, amount in zip(SPLITS, (train, val), strict=True):
        rng = stream(seed, f"coco/{split}")
        images: list[dict[str, Any]] = []
        things: list[tuple[int, Thing]] = []
        for i, first in enumerate(cycle(rng, amount)):
            scene = _draw(rng, split, i, first, side)
            number = 1 + 2 * i + SPLITS.index(split)  # no number twice in the two files
            images.append(_image(number, scene))
            save(scene.image, root / f"{split}2017" / images[-1]["file_name"])
            things += [(number, thing) for thing in scene.things]
        content = {
            "info": {"description": "scenes composed from scanned digits"},
            "licenses": [],
            "images": images,
            "annotations": [_annotation(i, image, thing) for i, (image, thing) in enumerate(things, start=1)],
            "categories": [{"id": i, "name": word} for i, word in zip(CATEGORY_IDS, WORDS, strict=True)],
        }
        (root / f"annotations/instances_{split}2017.json").write_text(json.dumps(content))


def _draw(rng: np.random.Generator, split: SplitName, index: int, first: int, side: int) -> Scene:
    size = around(rng, side)
    if index % 25 == 24:
        return compose(rng, backdrop(rng, *size), [])
    return group(rng, split, first, side, size, others=int(rng.integers(4)), crowded=index % 10 == 9)


def _image(number: int, scene: Scene) -> dict[str, Any]:
    width, height = scene.image.size
    return {"id": number, "file_name": f"{number:012d}.jpg", "width": width, "height": height}


def _annotation(number: int, image: int, thing: Thing) -> dict[str, Any]:
    """What COCO says of a thing. As annotators draw outlines,
    an instance's holes belong to it and to its area.
    """
    mask = thing.mask if thing.crowd else filled(thing.mask)
    crowd = {"counts": run_lengths(mask), "size": [*mask.shape]}
    x0, y0, x1, y1 = thing.box
    return {
        "id": number,
        "image_id": image,
        "category_id": CATEGORY_IDS[thing.label],
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": int(mask.sum()),
        "iscrowd": int(thing.crowd),
        "segmentation": crowd if thing.crowd else outlines(mask),
    }


def filled(mask: Mask) -> Mask:
    """The mask, bool (height, width), with its holes filled:
    what is cut off from the outside, also at corners.
    """
    # A pixel is inside where its row, up to it, has crossed more outer boundaries inwards than outwards.
    crossed = np.zeros((mask.shape[0], mask.shape[1] + 1), int)
    for loop in _loops(mask):
        steps = zip(loop, loop[1:] + loop[:1], strict=True)
        for (x, y), (_, next_y) in steps if _area(loop) > 0 else ():
            if y != next_y:
                crossed[min(y, next_y), x] += y - next_y
    return crossed.cumsum(axis=1)[:, :-1] > 0


def outlines(mask: Mask) -> list[list[int]]:
    """The boundaries of a mask without holes, bool (height, width), as polygons [x0, y0, x1, y1, ...].

    The points are pixel corners, so a polygon is exact to the pixel. There is one for each piece of the mask,
    whose pixels hang together along their sides.
    """
    polygons = []
    for loop in _loops(mask):
        neighbours = zip(loop[-1:] + loop[:-1], loop, loop[1:] + loop[:1], strict=True)
        corners = [here for before, here, after in neighbours if _turns(before, here, after)]
        polygons.append([coordinate for corner in corners for coordinate in corner])
    return polygons


def _loops(mask: Mask) -> list[list[Point]]:
    """All boundaries as closed walks of unit steps: outer ones clockwise as seen, those around holes not."""
    ahead = _steps(mask)
    loops = []
    while ahead:
        loops.append(_walk(ahead))
    return loops


def _steps(mask: Mask) -> dict[Point, list[Point]]:
    """For each pixel corner on a boundary the next ones,
    walking with the mask to the right (y points down).
    """
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    ahead: dict[Point, list[Point]] = {}
    # (the neighbour that must be empty, where the pixel's side starts and where it ends)
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    for neighbour, start, end in sides:
        for y, x in np.argwhere(inside & ~neighbour).tolist():
            ahead.setdefault((x + start[0], y + start[1]), []).append((x + end[0], y + end[1]))
    return ahead


def _walk(ahead: dict[Point, list[Point]]) -> list[Point]:
    """One closed loop of unit steps, removed from `ahead`."""
    # The first corner left is the top left one of an outer boundary, which has one way on, or lies on a hole.
    # A hole that narrows to a corner there closes early and comes as two, which together hold the same
    # pixels.
    start = here = next(iter(ahead))
    loop: list[Point] = []
    step = (0, 0)
    while not loop or here != start:
        loop.append(here)
        ends = ahead[here]
        # Where two pixels touch at a corner only, two ways lead on: the right turn stays on the same pixel.
        right = (here[0] - step[1], here[1] + step[0])
        there = right if right in ends else ends[0]
        ends.remove(there)
        if not ends:
            del ahead[here]
        here, step = there, (there[0] - here[0], there[1] - here[1])
    return loop


def _turns(before: Point, here: Point, after: Point) -> bool:
    return before[0] != after[0] and before[1] != after[1]


def _area(polygon: list[Point]) -> float:
    """The area of a polygon, positive if it runs clockwise as seen, that is with y pointing down."""
    following = polygon[1:] + polygon[:1]
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(polygon, following, strict=True)) / 2


def run_lengths(mask: Mask) -> list[int]:
    """Lengths of the alternating runs of a mask read down its
    columns; the first is of zeros and may be empty.
    """
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    lengths: list[int] = np.diff(changes, prepend=0, append=flat.size).tolist()
    return lengths
