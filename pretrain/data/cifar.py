"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 images of 32 x 32 pixels, from their official
files.
"""

from __future__ import annotations

from pathlib import Path

from pretrain.base.faults import unknown
from pretrain.data.archive import Pictures, decoded, official
from pretrain.data.dataset import DataSet
from pretrain.data.split import Split, from_class_folders

PLACE = "https://www.cs.toronto.edu/~kriz"
COUNTS = {"train": 50_000, "test": 10_000}


def dataset(name: str, folder: str, archive: str, md5: str) -> DataSet:
    """One of the two by its name, with the folder that its archive unpacks to, and the archive's sum."""
    layout = f"{folder}/ as {PLACE}/{archive} unpacks (MD5 {md5}); png/ is made of it"

    def read(root: Path, part: str) -> Split:
        """train or test, labels in the official order, which is alphabetical."""
        if part not in COUNTS:
            raise unknown("split", part, COUNTS, name)
        made = decoded(root, part, root / folder, layout, lambda: _pictures(name, root, folder, part))
        return from_class_folders(f"{name}/{part}", made)

    return DataSet(layout, read=read, counts=COUNTS)


def _pictures(name: str, root: Path, folder: str, part: str) -> Pictures:
    from torchvision import datasets  # heavy, and needed once
    from torchvision.datasets.utils import check_integrity

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]

    def read() -> datasets.CIFAR10:
        for file, md5 in (*kind.train_list, *kind.test_list):  # torchvision does not say which one it is
            if not check_integrity(str(root / folder / file), md5):
                raise ValueError(f"{file} is absent or another file")
        return kind(root, train=part == "train")

    found = official(root / folder, read)
    return ((pixels, found.classes[label]) for pixels, label in zip(found.data, found.targets, strict=True))
