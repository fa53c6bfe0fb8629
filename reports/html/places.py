"""Where everything stands in the site: a page per model, and on its page of records an anchor per record."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reports.records import Kept

OVERVIEW, COMPARE = "index.html", "compare.html"
LONGEST = 60  # characters of a file's name before its digest
PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class Places:
    """names: of the models; records: all that are shown; home: the folder that their paths are told from."""

    names: Sequence[str]
    records: Kept
    home: Path

    def model(self, name: str) -> str:
        """The page of a model, relative to the site."""
        return f"models/{filed(name)}.html"

    def of(self, name: str) -> str:
        """The page of a model's records, relative to the site."""
        return f"records/{filed(name)}.html"

    def record(self, path: Path) -> str:
        """Where a record is shown, relative to the site; '' for a path that is no record's."""
        return self._records.get(path, "")

    def told(self, path: Path) -> str:
        """A path as readers see it: below the home, without where the home lies."""
        return str(path.relative_to(self.home)) if path.is_relative_to(self.home) else str(path)

    def anchor(self, path: Path) -> str:
        """The id of a record on its page: of its path, for two records may have one key."""
        return f"r{digest(self.told(path))}"

    @cached_property
    def _records(self) -> dict[Path, str]:
        return {p: f"{self.of(str(r.model.get('name', '')))}#{self.anchor(p)}" for p, r in self.records}


def filed(name: str) -> str:
    """A file's name for any text: itself where it is plain, else what is plain of it and a digest.

    Names that differ in case alone get different files, for some file systems do not tell them apart.
    """
    if PLAIN.fullmatch(name) and len(name) <= LONGEST:
        return name
    kept = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:LONGEST]
    return f"{kept or 'model'}~{digest(name)}"


def digest(text: str) -> str:
    """Twelve digits that stand for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def names(records: Kept) -> list[str]:
    """The models that records are of, in alphabetical order."""
    found: Iterable[str] = (str(record.model.get("name", "")) for _, record in records)
    return sorted(set(found))
