"""What a protocol declares: settings, the data it reads, the rule that selects and reports, its place on the
pages.

A folder of benchmarks/protocols/ holds protocol.py, which declares PAPER, DEMO and SMOKE (each a tuple of
Protocols, and imports no torch), and run.py, whose function `run(task) -> Outcome` is found by the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contract.table import Column, Table
from pretrain.base import registry
from pretrain.base.faults import Fault, unknown
from pretrain.base.numerics import Numerics
from pretrain.base.settings import plain
from pretrain.data.fingerprint import Inventory
from pretrain.nets.names import FOREIGN

if TYPE_CHECKING:
    from benchmarks.contract.task import Outcome, Task

PACKAGE = "benchmarks.protocols"
DECLARED = ("PAPER", "DEMO", "SMOKE")  # by every family; other variants may be left out
LIBRARIES = ("torch", "numpy", "pillow")  # whose version decides a number that our own code computes


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A benchmark. version: raised by hand when its arithmetic changes; settings: of a class of its own.

    data: role -> 'dataset/split', for instance {'train': 'imagenet/train'}; roots: data sets that a
    foreign trainer reads as a whole, and inventory(root, settings) the files of them that it reads;
    report_on: the role or part that is scored; choose: in words, how the numbers shown are chosen;
    frozen: the backbone must come back unchanged; packages: libraries whose version decides the number;
    numerics: of its arithmetic on a GPU; unavailable(): a fault, if it cannot run here; archs:
    architectures that it can run, none: all; table, columns (columns_of: as settings have them), row:
    where its numbers stand (row: what tells its row from another protocol's of the same table); place:
    benchmarks, and so tables and columns, come in this order; function: of run.py; together: whether all
    processes that torchrun started compute it, each its part, or the first one alone; kept(settings): bytes
    of features that are kept of each image.
    """

    name: str
    title: str
    source: str
    version: int = 1
    settings: Any
    data: Mapping[str, str] = field(default_factory=dict)
    roots: tuple[str, ...] = ()
    inventory: Callable[[Path, Any], Inventory] | None = None
    report_on: str
    choose: str
    frozen: bool = True
    packages: tuple[str, ...] = LIBRARIES
    numerics: Numerics = "fp32"
    unavailable: Callable[[], Fault | None] = field(default=lambda: None)
    archs: tuple[str, ...] = ()
    table: Table
    columns: tuple[Column, ...]
    columns_of: Callable[[Any], tuple[Column, ...]] | None = None
    row: str = ""
    place: int = 1000
    function: str = "run"
    together: bool = False
    kept: Callable[[Any], int] = field(default=lambda settings: 0)
    family: str = ""  # the folder that declares it; filled in by `catalogue`
    notes: tuple[str, ...] = ()  # settings that followed from others in a suite, a sentence each

    def unfit(self, arch: str) -> Fault | None:
        """Why it cannot run on a backbone of this architecture, None where it can."""
        if not self.frozen and arch.startswith(FOREIGN):
            said = (
                f"{self.name} trains the backbone itself, and a module from elsewhere is evaluated as it is"
            )
            return Fault("bad-config", f"{said}; leave this benchmark out for it")
        if not self.archs or arch in self.archs:
            return None
        said = f"{self.name} runs on {', '.join(self.archs)}, this model is of architecture {arch}"
        return Fault("bad-config", f"{said}; leave this benchmark out for it")

    def rule(self) -> dict[str, Any]:
        """What of the protocol decides its number, as JSON values."""
        return {"protocol": self.name, "settings": plain(self.settings), **self.arithmetic()}

    def arithmetic(self) -> dict[str, Any]:
        """What decides any array that the protocol computes, whatever its settings."""
        return {
            "version": self.version,
            "packages": {name: version(name) for name in self.packages},
            "numerics": self.numerics,
        }

    def load(self) -> Callable[[Task], Outcome]:
        """The function of its folder that carries it out; this imports torch."""
        found: Callable[[Task], Outcome] = getattr(registry.load(PACKAGE, self.family, "run"), self.function)
        return found


def catalogue(variant: str) -> dict[str, Protocol]:
    """Every protocol of a variant (paper, photos, cifar, demo, smoke) by name, in the order of the tables.

    A family without the variant has that of its DEMO. Raises Fault where two families declare one name.
    """
    modules = {name: registry.load(PACKAGE, name, "protocol", DECLARED) for name in registry.names(PACKAGE)}
    declared = [
        replace(protocol, family=family)
        for family, module in modules.items()
        for protocol in getattr(module, variant.upper(), module.DEMO)
    ]
    found: dict[str, Protocol] = {}
    for protocol in sorted(declared, key=lambda p: (p.place, p.name)):
        if (other := found.get(protocol.name)) is not None:
            said = f"protocols {other.family} and {protocol.family} both declare '{protocol.name}'"
            raise Fault("bad-config", f"{said}; rename one of them")
        found[protocol.name] = protocol
    return found


@cache
def version(package: str) -> str | None:
    """Of an installed package, without what its build adds (`+cu128`); None where it is not installed."""
    try:
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def choose(known: Mapping[str, Protocol], names: list[str]) -> list[Protocol]:
    """The protocols of these names. Raises Fault naming the nearest known names."""
    for name in names:
        if name not in known:
            raise unknown("benchmark", name, known)
    return [protocol for name, protocol in known.items() if name in names]
