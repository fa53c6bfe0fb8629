"""Records of a home that cannot be read: of which model and benchmark their folders say they are, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.contract import result
from pretrain.base.faults import Fault
from reports.records import PRETRAIN, Kept, files

WORD = "damaged"  # what stands in a cell
_BENCHMARK = re.compile(r"results/([^/]+)/([^/]+)/[^/]+/[^/]+")
_PRETRAINING = re.compile(r"models/(.+)-s\d+-[^/-]+/[^/]+")


class Damaged(NamedTuple):
    """model, protocol: '' where the folder does not say; why: a sentence without the path."""

    path: Path
    model: str
    protocol: str
    why: str


def damaged(home: Path, kept: Kept) -> list[Damaged]:
    """What lies in a home beside the records that were read from it."""
    known = {path for path, _ in kept}
    return [one for path in files(home) if path not in known for one in _looked_at(path, home)]


def _looked_at(path: Path, home: Path) -> Iterator[Damaged]:
    """Why a record cannot be read; nothing where it can by now, or is gone."""
    try:
        result.read(path)
    except Fault as fault:
        if path.exists():
            yield Damaged(path, *_of(path, home), f"its file {str(fault).removeprefix(f'{path} ')}")


def _of(path: Path, home: Path) -> tuple[str, str]:
    place = path.relative_to(home).as_posix()
    if (found := _BENCHMARK.fullmatch(place)) is not None:
        return found[1], found[2]
    trained = _PRETRAINING.fullmatch(place)
    return (trained[1], PRETRAIN) if trained else ("", "")
