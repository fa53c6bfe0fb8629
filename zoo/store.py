"""Where everything lies: the one file that knows the folders of a suite's home, and how they are named.

    models/<model>-s<seed>-<key>/       backbone.safetensors, metrics.jsonl, state.pt, result.json
    results/<model>/<benchmark>/<key>/  result.json, and work/ while the job runs
    weights/                            checkpoints from elsewhere, as files of ours
    features/                           cached features: may be deleted at any time
    fingerprints/                       remembered fingerprints of data: likewise
    logs/  locks/                       what child processes print; who works on what
    tables.md

Names are for people. What a record is of stands in the record.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import shelf
from benchmarks.contract import result
from benchmarks.contract.result import Result, readable
from pretrain.base import files

RECORD = result.NAME
WEIGHTS = "backbone.safetensors"
PRETRAIN = "pretrain"  # the protocol's name in the record of a pretraining
GIVEN = "given"  # the method in the records of a model whose weights are a file of the user's


@dataclass(frozen=True)
class Known:
    """A model that a folder has records of; given: its weights are a file of the user's; seeds: those it was
    trained with, and with which each was evaluated.
    """

    name: str
    given: bool
    seeds: dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Store:
    """The folder of everything that a suite produces."""

    home: Path

    @property
    def features(self) -> Path:
        return self.home / "features"

    @property
    def weights(self) -> Path:
        """Files of ours that were made of somebody else's."""
        return self.home / "weights"

    @property
    def fingerprints(self) -> Path:
        return self.home / "fingerprints"

    @property
    def tables(self) -> Path:
        return self.home / "tables.md"

    def model(self, name: str, seed: int, key: str) -> Path:
        """Folder of a pretraining."""
        return self.home / "models" / f"{name}-s{seed}-{key}"

    def benchmark(self, model: str, protocol: str, key: str) -> Path:
        """Folder of a benchmark's record."""
        return self.home / "results" / model / protocol / key

    def log(self, label: str) -> Path:
        """What the process of a job prints."""
        return self.home / "logs" / f"{label.replace(' ', '-')}.log"

    def lock(self, key: str) -> Path:
        """The lock of whoever works on the job of that key."""
        return self.home / "locks" / f"{key}.lock"

    def pretrainings(self, model: str = "*") -> Iterator[tuple[Path, Result]]:
        """Readable records of pretrainings, of one model or of all, with their folders."""
        yield from _records(self.home.glob(f"models/{model}-s*/{RECORD}"))

    def results(self, model: str = "*", protocol: str = "*") -> Iterator[tuple[Path, Result]]:
        """Readable records of benchmarks with their folders."""
        yield from _records(self.home.glob(f"results/{model}/{protocol}/*/{RECORD}"))

    def of(self, model: str, protocol: str | None, seed: int, trained: int) -> list[tuple[Path, Result]]:
        """Every record of a model's pretraining (None) or benchmark with a seed, oldest first; trained: the
        seed of its pretraining.
        """
        found = self.pretrainings(model) if protocol is None else self.results(model, protocol)
        mine = [
            (path, r)
            for path, r in found
            if (r.seed, r.trained, r.model.get("name")) == (seed, trained, model)
        ]
        return sorted(mine, key=lambda one: one[1].time.get("end", ""))

    def models(self) -> list[Known]:
        """Every model with a record, by name; one trained and one given may share a name."""
        seeds: dict[tuple[str, bool], dict[int, set[int]]] = {}
        for _, record in [*self.pretrainings(), *self.results()]:
            one = (str(record.model.get("name", "")), record.model.get("method") == GIVEN)
            seeds.setdefault(one, {}).setdefault(record.trained, set())
            if record.protocol.get("name") != PRETRAIN:
                seeds[one][record.trained].add(record.seed)
        return [
            Known(name, given, {seed: tuple(sorted(found[seed])) or (seed,) for seed in sorted(found)})
            for (name, given), found in sorted(seeds.items())
        ]

    def require_writable(self) -> None:
        """Raises Fault where the folder cannot be written to; removes half-written features."""
        with files.explained(self.home):
            self.home.mkdir(parents=True, exist_ok=True)
            probe = self.home / f".writable.{os.getpid()}"
            probe.touch()
            probe.unlink(missing_ok=True)  # which another command's `tidy` may have done
        shelf.sweep(self.features)

    def tidy(self) -> None:
        """Removes what killed writers left beside tables.md and among the fingerprints, where that may be."""
        with suppress(OSError):
            tables, prints = self.home.glob(".tables.md.*.part"), self.fingerprints.glob(".*.part")
            for left in [*self.home.glob(".writable.*"), *tables, *prints]:
                left.unlink(missing_ok=True)

    def forget_caches(self) -> None:
        """Deletes the cached features, but for those in use: what is computed again must not be read back."""
        shelf.clean(self.features)


def _records(paths: Iterator[Path]) -> Iterator[tuple[Path, Result]]:
    for path in sorted(paths):
        if (record := readable(path)) is not None:
            yield path.parent, record
