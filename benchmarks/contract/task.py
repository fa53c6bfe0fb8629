"""What a running protocol gets, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.score import Score

if TYPE_CHECKING:
    import torch

    from pretrain.data.split import Split
    from pretrain.nets.backbone import Backbone


class Outcome(NamedTuple):
    """What a run found: its scores, and what else a reader may want to know (per-class values, counts).

    missing: why a score that the protocol declares could not be computed, by its name.
    """

    scores: list[Score]
    facts: dict[str, Any]
    missing: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Task:
    """All that a running protocol gets. splits and fingerprints: by the roles of Protocol.data; roots:
    folders of the data sets that it reads as a whole; work: folder for its own progress; cache: of features.

    report(done, total, line) drives the progress display.
    """

    protocol: Protocol
    checkpoint: Path
    backbone: Backbone
    splits: Mapping[str, Split]
    fingerprints: Mapping[str, str]
    roots: Mapping[str, Path]
    work: Path
    cache: Path
    seed: int
    device: torch.device
    report: Callable[[int, int, str], None]
