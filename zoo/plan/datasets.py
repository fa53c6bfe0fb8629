"""The data of a plan: each split opened at most once, each fingerprint remembered on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from benchmarks.contract.protocol import Protocol
from pretrain.base.faults import Fault
from pretrain.data.classes import require_same_classes
from pretrain.data.dataset import find
from pretrain.data.fingerprint import DataIdentity, Fingerprints, Inventory, of_split
from pretrain.data.split import Split, require
from zoo.suites.suite import Reference, Suite


class Datasets:
    """Splits and identities of a suite's data; a fault is remembered like a split."""

    def __init__(self, suite: Suite, memory: Path) -> None:
        self.suite, self.fingerprints = suite, Fingerprints(memory)
        self._splits: dict[Reference, Split | Fault] = {}
        self._identities: dict[str, DataIdentity | Fault] = {}
        self._read: dict[Reference, DataIdentity | None] = {}

    def split(self, reference: Reference) -> Split:
        """A split of the suite, opened once. Raises Fault."""
        if reference not in self._splits:
            try:
                self._splits[reference] = self.suite.split(reference)
            except Fault as fault:
                self._splits[reference] = fault
        found = self._splits[reference]
        if isinstance(found, Fault):
            raise found
        return found

    def identity(self, reference: Reference) -> DataIdentity:
        """What a key needs of a split. Raises Fault."""
        self._read[reference] = None
        found = self._remembered(self._key(reference), lambda: of_split(self.split(reference)))
        self._read[reference] = found
        return found

    def require_planned(self, data: Mapping[str, str], protocol: Protocol) -> None:
        """Raises Fault (data-corrupt) where what a protocol reads, by role or data set, is not what the plan
        says; hours may lie between the two.
        """
        for role, reference in protocol.data.items():
            self.require_split_planned(data[role], reference)
        again = Datasets(self.suite, self.fingerprints.memory)
        for name in protocol.roots:
            _require(data[name], again.tree(name, protocol).fingerprint, name, self.suite.folder(name))

    def require_split_planned(self, planned: str, reference: Reference) -> None:
        """Raises Fault (data-corrupt) where the images and labels of a split, as it was opened, are not those
        of the plan; what came to lie beside them since is none of it.
        """
        split = self.split(reference)
        _require(
            planned, self.fingerprints.now(self._key(reference), of_split(split)), split.name, split.root
        )

    def splits_read(self) -> list[tuple[Reference, DataIdentity | None]]:
        """Every split whose identity was asked for; None: it is not there, or faulty."""
        return list(self._read.items())

    def require_same_classes(self, read: Mapping[str, Reference]) -> None:
        """Raises Fault (data-corrupt) where the labels of the splits of these roles mean other classes. What
        is remembered tells that they are the same, and opens none.
        """
        if len({self.identity(reference).names for reference in read.values()}) > 1:
            require_same_classes({role: self.split(reference) for role, reference in read.items()})

    def require_two_classes(self, read: Mapping[str, Reference]) -> None:
        """Raises Fault (bad-config) where the images of a split can only be of one class, before anything is
        trained for it. Every network scores 100 % there, a random one too. Where images have many labels one
        class divides them, too.
        """
        for reference in read.values():
            if self.identity(reference).classes == 1 and _one_each(self.split(reference)):
                said = f"{reference} ({self.split(reference).root}) has images of one class, expected two or more"
                raise Fault("bad-config", f"{said}; add another class or leave this benchmark out")

    def _key(self, reference: Reference) -> str:
        folder = reference if isinstance(reference, Path) else self.suite.folder(reference.partition("/")[0])
        part = "all" if isinstance(reference, Path) else reference
        # Not "without": what was remembered under that does not know which lines name an image.
        left_out = f" leaving out {self.suite.exclude.absolute()}" if self.suite.exclude else ""
        return f"{folder.absolute()} {part}{left_out}"

    def shared(self, one: Reference, other: Reference) -> int:
        """How many images of the other split have the contents of an image of the one: of those that were
        hashed.
        """
        known = set(self._contents(one))
        return sum(sha in known for sha in self._contents(other))

    def _contents(self, reference: Reference) -> list[str]:
        """Digests of the images of a split, whether or not they could be remembered on disk; none where it is
        not here.
        """
        with suppress(Fault):
            self._remembered(self._key(reference), lambda: of_split(self.split(reference)))
        return self.fingerprints.contents(self._key(reference))

    def tree(self, name: str, protocol: Protocol) -> DataIdentity:
        """What a key needs of a data set that a protocol reads as a whole. Raises Fault."""
        root, inventory = self.suite.folder(name), protocol.inventory
        assert inventory is not None, f"{protocol.name} reads {name} as a whole and must say what of it"

        def take() -> Inventory:
            return inventory(require(root, find(name).layout), protocol.settings)

        return self._remembered(f"{root.absolute()} {name} {protocol.name} {protocol.settings}", take)

    def _remembered(self, key: str, take: Callable[[], Inventory]) -> DataIdentity:
        if key not in self._identities:
            try:
                self._identities[key] = self.fingerprints.of(key, take)
            except Fault as fault:
                self._identities[key] = fault
        found = self._identities[key]
        if isinstance(found, Fault):
            raise found
        return found


def _require(planned: str, found: str, name: str, root: Path) -> None:
    if found != planned:
        said = f"{name} in {root} changed since this job was planned: expected {planned}, found {found}"
        raise Fault("data-corrupt", f"{said}; run again, and leave it as it is until that has ended")


def _one_each(split: Split) -> bool:
    """Whether an image is of one class, not of any number of them."""
    return split.labels is not None and split.labels.ndim == 1
