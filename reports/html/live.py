"""The site while a run goes on: made anew whenever records or metrics have changed, held in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.contract.result import NAME as RECORD
from reports.html import curves
from reports.html.site import pages
from reports.records import PARTS
from reports.view import View

WATCHED = frozenset({RECORD, curves.NAME})


class Page(NamedTuple):
    """A page and the word that changes when it does."""

    content: bytes
    tag: str


@dataclass
class Live:
    """home: the folder of records; view: reads it anew. Pages are replaced as a whole, so that whoever reads
    one meanwhile gets the old or the new one.
    """

    home: Path
    view: Callable[[], View]
    pages: dict[str, Page] = field(default_factory=dict)
    _seen: str = ""

    def refresh(self) -> bool:
        """Makes the pages anew where a record or a curve has changed since; returns whether."""
        now = stamp(self.home)
        if now == self._seen:
            return False
        made = dict(pages(self.view(), self.home, live=True))
        self.pages = {path: Page(content, _digest(content)) for path, content in made.items()}
        self._seen = now
        return True


def stamp(home: Path) -> str:
    """A word that changes whenever a record or a file of metrics below a home does."""
    return _digest("\n".join(sorted(_states(home))).encode())


def _states(home: Path) -> Iterator[str]:
    for part in PARTS:
        for folder, _, names in os.walk(home / part):
            for name in WATCHED.intersection(names):
                path = os.path.join(folder, name)
                try:
                    state = os.stat(path)
                except OSError:  # gone since it was listed
                    continue
                yield f"{path} {state.st_mtime_ns} {state.st_size} {state.st_ino}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
