"""What a data set is: a layout on disk, and how its splits are read. One file each in pretrain/data/sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pretrain.base import registry
from pretrain.base.faults import Fault
from pretrain.data.split import Split

PACKAGE = "pretrain.data.sets"


@dataclass(frozen=True)
class DataSet:
    """layout: what a user lays out where, in one line; folder: its customary name below a root, by default
    the file's.

    read(root, name): a split of it; counts: images of each published split. A set without `read` is read as a
    whole by a foreign trainer.
    """

    layout: str
    folder: str = ""
    read: Callable[[Path, str], Split] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    def split(self, root: Path, name: str) -> Split:
        """A split by name. Raises Fault: data-missing with the layout, data-corrupt naming file and line."""
        if self.read is None:
            raise Fault(
                "bad-config", f"{root} is read as a whole by a foreign trainer; it has no split '{name}'"
            )
        return self.read(root, name)


def names() -> list[str]:
    """Names of all data sets."""
    return list(registry.names(PACKAGE))


def find(name: str) -> DataSet:
    """The data set of that name. Raises Fault naming the nearest names if there is none,
    or the file where it declares none.
    """
    module = registry.load(PACKAGE, name)
    found = getattr(module, "DATASET", None)
    if not isinstance(found, DataSet):
        said = f"DATASET must be a pretrain.data.dataset.DataSet, got {type(found).__name__}"
        raise Fault("bad-config", f"{module.__file__}: {said}")
    return found
