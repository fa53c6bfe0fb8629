"""Any folder of images, without labels: what a user's own pretraining needs."""

from __future__ import annotations

from pathlib import Path

from pretrain.split import Split, from_folder, require

LAYOUT = "images at any depth below the folder"
SPLITS = ("all",)
COUNTS: dict[str, int] = {}


def split(root: Path, name: str) -> Split:
    """Every image below the root, sorted by path."""
    return from_folder(f"{root.name}/{name}", require(root, LAYOUT))
