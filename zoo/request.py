"""What was asked for on the command line, resolved once: suite, models, benchmarks, seeds. No torch here."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.contract.protocol import Protocol, choose
from pretrain.base.faults import Fault, unknown
from pretrain.nets.formats.adopting import NOW
from pretrain.nets.formats.contract import Flags
from pretrain.nets.names import TIMM
from zoo import models
from zoo.store import Store
from zoo.suites import builtin, file
from zoo.suites.suite import Entry, Given, Suite


class Trial(NamedTuple):
    """A model trained with a seed, and evaluated with some: by default with the same."""

    entry: Entry
    seed: int
    evaluations: tuple[int, ...]


@dataclass(frozen=True)
class Request:
    """trials: first those of the models asked for, then of those beside them; asked: names of the former;
    by_name: whether the benchmarks were named, so that none of them may be missing.
    """

    suite: Suite
    store: Store
    trials: tuple[Trial, ...]
    protocols: tuple[Protocol, ...]
    asked: frozenset[str]
    by_name: bool = False

    @property
    def entries(self) -> list[Entry]:
        """The models, each once."""
        return list(dict.fromkeys(trial.entry for trial in self.trials))


def resolve(
    names: list[str],
    benchmarks: list[str] | None,
    suite: str,
    out: Path | None,
    sets: list[str],
    seeds: str = "0",
    checkpoint: Path | None = None,
    eval_seeds: str = "",
    alias: str = "",
    flags: Flags = NOW,
) -> Request:
    """The request of a command line; benchmarks None: all of the suite; eval_seeds '': as the model's; alias:
    a name for the model with these settings; flags: what the checkpoint does not say of itself. Raises Fault
    on any unknown name.
    """
    if flags != NOW and checkpoint is None:
        told = ", ".join("--" + name.replace("_", "-") for name in flags.given)
        raise Fault("bad-config", f"{told} says how a file is read; name it with --checkpoint FILE")
    if alias and checkpoint is not None:
        said = "--as names a model that is trained; name a file's with `zoo run NAME --checkpoint FILE`"
        raise Fault("bad-config", said)
    found, store = builtin.load(suite, out, file.from_command_line(sets)), Store(builtin.home(suite, out))
    if not names and checkpoint is None:
        if found.drawn():
            found.split(found.pretrained_on)  # first of all it needs its images
        raise Fault("bad-config", "name a model (see `zoo list`), or give a file with --checkpoint")
    entries = (
        models.given(found, store, names, checkpoint, flags)
        if checkpoint
        else models.entries(found, store, names, alias)
    )
    known = found.catalogue()
    evaluations = _seeds(eval_seeds, "--eval-seeds") if eval_seeds else ()
    return Request(
        suite=found,
        store=store,
        trials=tuple(
            Trial(entry, seed, evaluations or (seed,))
            for entry, seed in itertools.product(entries, _seeds(seeds))
        ),
        protocols=tuple(known.values() if benchmarks is None else choose(known, benchmarks)),
        asked=models.called(found, names, alias, checkpoint),
        by_name=benchmarks is not None,
    )


def about(
    model: str,
    benchmarks: list[str],
    suite: str,
    out: Path | None,
    sets: list[str],
    seeds: str = "0",
    eval_seeds: str = "",
) -> Request:
    """A request that is read and never run: of a model of the suite, or of any that its folder has records
    of, files of the user's among them. Raises Fault on any unknown name.
    """
    found, store = builtin.load(suite, out, file.from_command_line(sets)), Store(builtin.home(suite, out))
    known = {trial.entry.name: trial.entry for trial in _known(found, store)}
    names = {*found.models(), *known}
    if model not in names and not model.startswith(TIMM):
        raise unknown("model", model, names)
    entry = None if model in found.models() else known.get(model)
    if not isinstance(entry, Given):
        return resolve([model], benchmarks, suite, out, sets, seeds, eval_seeds=eval_seeds)
    evaluations = _seeds(eval_seeds, "--eval-seeds") if eval_seeds else ()
    trials = tuple(Trial(entry, seed, evaluations or (seed,)) for seed in _seeds(seeds))
    protocols = tuple(choose(found.catalogue(), benchmarks))
    return Request(found, store, trials, protocols, frozenset([model]), by_name=True)


def everything(suite: str, out: Path | None, sets: list[str]) -> Request:
    """A request for every model and seed that a suite's folder has records of, with all its benchmarks."""
    found, store = builtin.load(suite, out, file.from_command_line(sets)), Store(builtin.home(suite, out))
    trials = _known(found, store)
    if not trials:
        words = f"--suite {suite}" + (f" --out {out}" if out else "")
        said = f"{store.home} holds no model yet; run `zoo run odc --all-benchmarks {words}` first"
        raise Fault("data-missing", said)
    protocols = tuple(found.catalogue().values())
    return Request(found, store, tuple(trials), protocols, frozenset(trial.entry.name for trial in trials))


def with_known(request: Request) -> Request:
    """The request, with every other model, seed and evaluation that its folder has records of, and all
    benchmarks.
    """
    known = _known(request.suite, request.store)
    asked = {(trial.entry.name, trial.seed) for trial in request.trials}
    others = [trial for trial in known if (trial.entry.name, trial.seed) not in asked]
    protocols = tuple(request.suite.catalogue().values())
    trials = [_with_evaluations(trial, known) for trial in request.trials]
    return replace(request, trials=(*trials, *others), protocols=protocols)


def _with_evaluations(trial: Trial, known: list[Trial]) -> Trial:
    """The trial with all evaluations that are known of its model as it was trained with its seed."""
    mine = (one for one in known if (one.entry.name, one.seed) == (trial.entry.name, trial.seed))
    return trial._replace(
        evaluations=tuple(sorted({seed for one in (trial, *mine) for seed in one.evaluations}))
    )


def _known(suite: Suite, store: Store) -> list[Trial]:
    """Every model and seed with a record that the suite knows, those of `beside` last."""
    trials = list[Trial]()
    for model in store.models():
        entry = Given(model.name) if model.given else models.still_known(suite, store, model.name)
        if entry is not None:
            trials += [Trial(entry, seed, evaluations) for seed, evaluations in model.seeds.items()]
    order = {name: i for i, name in enumerate(suite.beside, start=1)}
    return sorted(trials, key=lambda trial: (order.get(trial.entry.name, 0), trial.entry.name))


def _seeds(text: str, option: str = "--seeds") -> tuple[int, ...]:
    """The seeds that an option lists. Raises Fault on what is none."""
    try:
        seeds = [seed for part in text.split(",") for seed in _range(part)]
    except ValueError:
        raise Fault("bad-config", f"{option} expects whole numbers like 0,1,2 or 0-4, got '{text}'") from None
    if wrong := [seed for seed in seeds if not 0 <= seed < 2**31]:
        raise Fault("bad-config", f"{option} expects numbers from 0 to {2**31 - 1}, got {wrong[0]}")
    return tuple(dict.fromkeys(seeds))


def _range(text: str) -> range:
    """The seeds of `3`, or of `0-4`. Raises ValueError."""
    first, dash, last = text.strip().partition("-")
    seeds = range(int(first), int(last if dash else first) + 1)
    if not 0 < len(seeds) <= 1000:
        raise ValueError(text)
    return seeds


def asked(everything: bool, listed: str | None, suite: str = "") -> list[str] | None:
    """Names of benchmarks asked for; None for all, which a suite of the user's own means without a word."""
    everything |= listed is None and suite.endswith(".toml")
    if everything == (listed is not None):
        raise Fault("bad-config", "say either --all-benchmarks or --benchmarks NAME,NAME (see `zoo list`)")
    if listed is None or listed == "all":
        return None
    return [] if listed == "none" else [name.strip() for name in listed.split(",")]
