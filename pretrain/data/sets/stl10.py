"""STL-10: 96 x 96 pixels, ten classes, 100,000 images without labels (Coates, Lee and Ng, AISTATS 2011)."""

from __future__ import annotations

from pathlib import Path

from pretrain.base.faults import unknown
from pretrain.data.archive import Pictures, decoded, official
from pretrain.data.dataset import DataSet
from pretrain.data.split import Split, from_class_folders, from_folder

FILES = "stl10_binary"
LAYOUT = f"{FILES}/ as stl10_binary.tar.gz unpacks (cs.stanford.edu/~acoates/stl10); png/ is made of it"
COUNTS = {"train": 5_000, "test": 8_000, "unlabeled": 100_000}
UNLABELED = "unlabeled"


def read(root: Path, name: str) -> Split:
    """train, test, or unlabeled, whose labels are None."""
    if name not in COUNTS:
        raise unknown("split", name, COUNTS, "stl10")
    folder = decoded(root, name, root / FILES, LAYOUT, lambda: _pictures(root, name))
    return (from_folder if name == UNLABELED else from_class_folders)(f"stl10/{name}", folder)


def _pictures(root: Path, name: str) -> Pictures:
    from torchvision.datasets import STL10  # heavy, and needed once

    found = official(root / FILES, lambda: STL10(root, split=name))
    labels = [""] * len(found.data) if name == UNLABELED else [found.classes[i] for i in found.labels]
    return ((pixels.transpose(1, 2, 0), label) for pixels, label in zip(found.data, labels, strict=True))


DATASET = DataSet(LAYOUT, read=read, counts=COUNTS)
