"""Places205: 205 scene categories, in the authors' list format."""

from __future__ import annotations

from pathlib import Path

from pretrain.data.dataset import DataSet
from pretrain.data.split import Split, from_list, require, require_published

LAYOUT = (
    "images/... and meta/train.txt, meta/val.txt with lines 'path label', path relative to images/ "
    "(the authors' train_places205.csv and val_places205.csv have this form: copy or link them there)"
)
COUNTS = {"train": 2_448_873, "val": 20_500}
CLASSES = 205


def read(root: Path, name: str) -> Split:
    """One of the splits in COUNTS."""
    images = require(root / "images", LAYOUT)
    lists = {part: root / "meta" / f"{part}.txt" for part in COUNTS}
    mine = require(lists.pop(name, root / "meta" / f"{name}.txt"), LAYOUT)
    found = from_list(f"places205/{name}", images, mine, beside=tuple(lists.values()))
    require_published(found, COUNTS.get(name, -1), CLASSES)
    return found


DATASET = DataSet(LAYOUT, read=read, counts=COUNTS)
