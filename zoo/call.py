"""What was asked for on the command line, resolved: suite, models, protocols, seeds. No torch here."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.protocol import choose
from pretrain.faults import Fault
from zoo import suite as suites
from zoo.plan import GIVEN, Job, Planner, newest_given
from zoo.suite import Entry, Suite


class Call:
    """What was asked for: suite, models, protocols, seeds. Raises Fault on any unknown name."""

    def __init__(
        self,
        models: list[str],
        protocols: list[str] | None,
        suite: str,
        out: Path | None,
        sets: list[str],
        seeds: str,
        checkpoint: Path | None,
        alone: bool = False,
    ) -> None:
        self.suite: Suite = suites.load(suite, out, suites.parse_sets(sets))
        self.suite_name, self.sets, self.checkpoint, self.alone = suite, sets, checkpoint, alone
        self.home = suites.home(suite, out)
        known = self.suite.catalogue()
        self.protocols = list(known.values()) if protocols is None else choose(known, protocols)
        self.entries = _entries(self.suite, models, checkpoint, alone)
        try:
            self.seeds = [int(seed) for seed in seeds.split(",")]
        except ValueError:
            raise Fault("bad-config", f"--seeds expects whole numbers like 0,1,2, got '{seeds}'") from None

    def planner(self) -> Planner:
        return Planner(self.suite, self.home, self.checkpoint)

    def plan(self) -> list[Job]:
        return self.planner().jobs(self.entries, self.protocols, self.seeds)


def _entries(suite: Suite, models: list[str], checkpoint: Path | None, alone: bool) -> list[Entry]:
    if checkpoint is None:
        beside = [] if alone else [name for name in suite.beside if name not in models]
        return [suite.entry(name) for name in [*models, *beside]]
    if len(models) != 1:
        raise Fault("bad-config", f"--checkpoint evaluates one model, got {len(models)} names")
    return [_given(suite, safe(models[0]))]


def _given(suite: Suite, name: str) -> Entry:
    return Entry(name, GIVEN, suite.entry("random").recipe)


def evaluated(suite: Suite, home: Path) -> list[Entry]:
    """Models of a folder whose weights were given as a file in earlier calls."""
    trained = {path.name.rpartition("-s")[0] for path in home.glob("models/*-s*-*")}
    names = sorted({path.name for path in home.glob("results/*")} - trained)
    return [_given(suite, name) for name in names if newest_given(home, name) is not None]


def asked(everything: bool, listed: str | None) -> list[str] | None:
    """Names asked for; None for all."""
    if everything == (listed is not None):
        raise Fault("bad-config", "say either --all-benchmarks or --benchmarks NAME,NAME (see `zoo list`)")
    if listed is None:
        return None
    return [] if listed == "none" else [name.strip() for name in listed.split(",")]


def safe(name: str) -> str:
    """The name, if it can be a folder. Raises Fault otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise Fault("bad-config", f"model name {name!r} must be 1-80 letters, digits, '.', '_' or '-'")
    return name
