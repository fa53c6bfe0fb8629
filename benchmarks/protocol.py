"""What a protocol is: settings, the data it reads, the rule that selects and reports, and a function to run it.

A file of benchmarks/protocols/ declares PAPER, DEMO and SMOKE, each a tuple of Protocols, and the functions they run.
No torch is imported until one runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pretrain import folder
from pretrain.faults import unknown

if TYPE_CHECKING:
    import torch

    from pretrain.backbone import Backbone
    from pretrain.split import Split


class Score(NamedTuple):
    """One number of a protocol. value: unrounded, percentages as 0-100; n: samples it is computed over.

    spread: (kind, values), for instance ("draws", [..]) for repeated low-shot samples.
    """

    name: str
    value: float
    n: int
    split: str
    unit: str = "%"
    better: str = "higher"
    spread: tuple[str, list[float]] | None = None
    note: str = ""


class Outcome(NamedTuple):
    """What a run found: its scores, and facts that the tables or a reader need (best layer, chosen setting)."""

    scores: list[Score]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """All that a running protocol gets. splits: by the names in Protocol.data; work: folder for its own progress.

    report(done, total, line) drives the progress display.
    """

    protocol: Protocol
    checkpoint: Path
    backbone: Backbone
    splits: Mapping[str, Split]
    roots: Mapping[str, Path]
    work: Path
    cache: Path
    seed: int
    device: torch.device
    report: Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A benchmark. version: raised by hand when its arithmetic changes; settings: a frozen dataclass of its file.

    data: role -> 'dataset/split', for instance {'train': 'imagenet/train'}; roots: data sets read as a whole by a
    foreign trainer; select_on, report_on: roles; choose: 'last', or 'best on ...' in words; frozen: the backbone
    must come back unchanged; packages: libraries whose version decides the number; unavailable: a reason, if this
    protocol cannot run here.
    """

    name: str
    title: str
    source: str
    version: int = 1
    settings: Any
    data: Mapping[str, str]
    select_on: str
    report_on: str
    choose: str
    run: Callable[[Task], Outcome]
    frozen: bool = True
    roots: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    unavailable: Callable[[], str | None] = field(default=lambda: None)


def catalogue(variant: str) -> dict[str, Protocol]:
    """Every protocol of a variant (paper, demo, smoke) by name, in the order of the zoo's tables."""
    modules = [folder.load("benchmarks.protocols", name) for name in folder.names("benchmarks.protocols")]
    found = {p.name: p for module in modules for p in getattr(module, variant.upper())}
    return {name: found[name] for name in sorted(found, key=_place)}


# Reading order of the tables; a protocol that is not named here follows in alphabetical order.
ORDER = (
    "voc07_svm",
    "voc07_low_shot",
    "imagenet_linear",
    "inat18_linear",
    "places205_linear",
    "imagenet_1pct",
    "imagenet_10pct",
    "imagenet_knn",
    "clustering",
    "voc0712_detection",
    "coco17_detection",
    "voc12aug_segmentation",
    "cityscapes_segmentation",
)


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def choose(known: Mapping[str, Protocol], names: list[str]) -> list[Protocol]:
    """The protocols of these names. Raises Fault naming the nearest known names."""
    for name in names:
        if name not in known:
            raise unknown("protocol", name, known)
    return [protocol for name, protocol in known.items() if name in names]
