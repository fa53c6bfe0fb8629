"""iNaturalist 2018: 8,142 species; category ids are used as labels unchanged."""

from __future__ import annotations

from pathlib import Path

from pretrain.data.dataset import DataSet
from pretrain.data.split import Split, from_list, require

LAYOUT = (
    "train_val2018/<group>/<id>/*.jpg; meta/train.txt and meta/val.txt with lines 'path label', path relative "
    "to train_val2018/"
)
COUNTS = {"train": 437_513, "val": 24_426}


def read(root: Path, name: str) -> Split:
    """One of the splits in COUNTS, from the list files made of the competition's JSON."""
    images = require(root / "train_val2018", LAYOUT)
    return from_list(f"inat18/{name}", images, require(root / "meta" / f"{name}.txt", LAYOUT))


DATASET = DataSet(LAYOUT, read=read, counts=COUNTS)
