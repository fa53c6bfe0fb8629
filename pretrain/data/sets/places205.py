"""Places205: 205 scene categories, in the authors' list format."""

from __future__ import annotations

from pathlib import Path

from pretrain.data.dataset import DataSet
from pretrain.data.split import Split, from_list, require

LAYOUT = (
    "images/... and meta/train.txt, meta/val.txt with lines 'path label', path relative to images/ "
    "(the authors' train_places205.csv and val_places205.csv have this form: copy or link them there)"
)
COUNTS = {"train": 2_448_873, "val": 20_500}


def read(root: Path, name: str) -> Split:
    """One of the splits in COUNTS."""
    images = require(root / "images", LAYOUT)
    return from_list(f"places205/{name}", images, require(root / "meta" / f"{name}.txt", LAYOUT))


DATASET = DataSet(LAYOUT, read=read, counts=COUNTS)
