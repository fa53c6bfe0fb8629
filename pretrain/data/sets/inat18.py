"""iNaturalist 2018: 8,142 species; category ids are used as labels unchanged."""

from __future__ import annotations

from pathlib import Path

from pretrain.data.dataset import DataSet
from pretrain.data.split import Split, from_list, require, require_published

LAYOUT = (
    "train_val2018/<group>/<id>/*.jpg; meta/train.txt and meta/val.txt with lines 'path label', path relative "
    "to train_val2018/"
)
COUNTS = {"train": 437_513, "val": 24_426}
CLASSES = 8_142


def read(root: Path, name: str) -> Split:
    """One of the splits in COUNTS, from the list files made of the competition's JSON."""
    images = require(root / "train_val2018", LAYOUT)
    lists = {part: root / "meta" / f"{part}.txt" for part in COUNTS}
    mine = require(lists.pop(name, root / "meta" / f"{name}.txt"), LAYOUT)
    found = from_list(f"inat18/{name}", images, mine, beside=tuple(lists.values()))
    require_published(found, COUNTS.get(name, -1), CLASSES)
    return found


DATASET = DataSet(LAYOUT, read=read, counts=COUNTS)
