"""What was asked for on the command line, resolved once: suite, models, benchmarks, seeds. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contract.protocol import Protocol, choose
from pretrain.base.faults import Fault
from pretrain.nets.checkpoint import describe
from zoo.store import Store
from zoo.suites import builtin, file
from zoo.suites.suite import Entry, Given, Suite, Trained


@dataclass(frozen=True)
class Request:
    """entries: the models asked for, then those beside them; asked: names of the former; by_name: whether the
    benchmarks were named, so that none of them may be missing."""

    suite: Suite
    store: Store
    entries: tuple[Entry, ...]
    protocols: tuple[Protocol, ...]
    seeds: tuple[int, ...]
    asked: frozenset[str]
    by_name: bool = False


def resolve(
    models: list[str],
    benchmarks: list[str] | None,
    suite: str,
    out: Path | None,
    sets: list[str],
    seeds: str = "0",
    checkpoint: Path | None = None,
) -> Request:
    """The request of a command line; benchmarks None: all of the suite. Raises Fault on any unknown name."""
    found = builtin.load(suite, out, file.from_command_line(sets))
    known = found.catalogue()
    return Request(
        suite=found,
        store=Store(builtin.home(suite, out)),
        entries=_entries(found, models, checkpoint),
        protocols=tuple(known.values() if benchmarks is None else choose(known, benchmarks)),
        seeds=_seeds(seeds),
        asked=frozenset(models),
        by_name=benchmarks is not None,
    )


def everything(suite: str, out: Path | None, sets: list[str]) -> Request:
    """A request for every model, benchmark and seed that a suite's folder has a record of."""
    found, store = builtin.load(suite, out, file.from_command_line(sets)), Store(builtin.home(suite, out))
    entries, seeds = list[Entry](), {0}
    for model in store.models():
        seeds |= model.seeds
        if model.given:
            entries.append(Given(model.name))
        elif (entry := _still_known(found, model.name)) is not None:
            entries.append(entry)
    if not entries:
        words = f"--suite {suite}" + (f" --out {out}" if out else "")
        said = f"{store.home} holds no model yet; run `zoo run odc --all-benchmarks {words}` first"
        raise Fault("data-missing", said)
    order = {name: i for i, name in enumerate(found.beside, start=1)}
    entries.sort(key=lambda entry: (order.get(entry.name, 0), entry.name))
    protocols = tuple(found.catalogue().values())
    return Request(
        found, store, tuple(entries), protocols, tuple(sorted(seeds)), frozenset(e.name for e in entries)
    )


def _still_known(suite: Suite, name: str) -> Trained | None:
    try:
        return suite.entry(name)
    except Fault:  # its folder was taken out of the zoo since, or it was another suite's
        return None


def _entries(suite: Suite, models: list[str], checkpoint: Path | None) -> tuple[Entry, ...]:
    if checkpoint is None:
        names = dict.fromkeys([*models, *suite.beside])
        return tuple(suite.entry(name) for name in names)
    if len(models) != 1:
        raise Fault("bad-config", f"--checkpoint evaluates one model, got {len(models)} names")
    name = safe(models[0])
    describe(checkpoint)  # a file that is absent or damaged is said before anything is drawn or trained
    return (Given(name, checkpoint),)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError:
        raise Fault("bad-config", f"--seeds expects whole numbers like 0,1,2, got '{text}'") from None
    if wrong := [seed for seed in seeds if not 0 <= seed < 2**31]:
        raise Fault("bad-config", f"--seeds expects numbers from 0 to {2**31 - 1}, got {wrong[0]}")
    return tuple(dict.fromkeys(seeds))


def asked(everything: bool, listed: str | None) -> list[str] | None:
    """Names of benchmarks asked for; None for all."""
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
