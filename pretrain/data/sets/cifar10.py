"""CIFAR-10: 32 x 32 pixels, ten classes, 50,000 + 10,000 images (Krizhevsky 2009)."""

from __future__ import annotations

from pathlib import Path

from pretrain.base.faults import unknown
from pretrain.data.archive import Pictures, decoded, official
from pretrain.data.dataset import DataSet
from pretrain.data.split import Split, from_class_folders

FILES = "cifar-10-batches-py"
LAYOUT = (
    f"{FILES}/ as cifar-10-python.tar.gz unpacks (www.cs.toronto.edu/~kriz/cifar.html); png/ is made of it"
)
COUNTS = {"train": 50_000, "test": 10_000}


def read(root: Path, name: str) -> Split:
    """train or test, labels in the official order, which is alphabetical."""
    if name not in COUNTS:
        raise unknown("split", name, COUNTS, "cifar10")
    folder = decoded(root, name, root / FILES, LAYOUT, lambda: _pictures(root, name))
    return from_class_folders(f"cifar10/{name}", folder)


def _pictures(root: Path, name: str) -> Pictures:
    from torchvision.datasets import CIFAR10  # heavy, and needed once

    found = official(root / FILES, lambda: CIFAR10(root, train=name == "train"))
    return ((pixels, found.classes[label]) for pixels, label in zip(found.data, found.targets, strict=True))


DATASET = DataSet(LAYOUT, read=read, counts=COUNTS)
