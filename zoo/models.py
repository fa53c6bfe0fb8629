"""The models of a request: those that a suite trains, those that a name was given to, files of the user's,
and networks of timm with the weights that it has of them.
"""

from __future__ import annotations

import re
from pathlib import Path

from pretrain.base import registry
from pretrain.base.faults import Fault, printable
from pretrain.base.settings import build
from pretrain.nets.formats.adopting import NOW, adopted, fetched
from pretrain.nets.formats.contract import Flags
from pretrain.nets.names import TIMM
from zoo.store import Store
from zoo.suites.suite import METHODS, Entry, Given, Suite, Trained, recipes
from zoo.weights.source import local

ALL = "all"  # in place of a model's name: every method


def entries(suite: Suite, store: Store, names: list[str], alias: str = "") -> tuple[Entry, ...]:
    """The models of these names (`all`: every method; `timm:NAME`: timm's, pretrained), and those beside.

    alias: a name of its own for the one model asked for, with the settings of this command. Those beside it
    have the suite's settings. Raises Fault on an unknown name.
    """
    asked = list(dict.fromkeys(n for name in names for n in (suite.methods() if name == ALL else [name])))
    beside = [name for name in suite.beside if name not in asked]
    found: list[Entry] = [_pretrained(suite, store, name) or _named(suite, store, name) for name in asked]
    if alias:
        if len(found) != 1 or not isinstance(found[0], Trained):
            raise Fault("bad-config", f"--as names one model that is trained, got {', '.join(names)}")
        found = [Trained(_free(suite, alias, "--as"), found[0].method, found[0].recipe, found[0].notes)]
    return (*found, *(suite.entry(name) for name in beside))


def given(suite: Suite, store: Store, names: list[str], path: Path, flags: Flags = NOW) -> tuple[Entry, ...]:
    """A model whose weights are a file of any layout; without a name it has the file's.

    flags: what the file does not say of itself. Raises Fault on a taken name, or an unfit file.
    """
    if len(names) > 1:
        raise Fault("bad-config", f"--checkpoint evaluates one model, got {len(names)} names")
    called = names[0] if names else legal(path.stem)
    if not called:
        said = f"'{printable(path.name, 80)}' has no letter or digit of ASCII to be a model's name"
        raise Fault("bad-config", f"--checkpoint: {said}; give one: `zoo run NAME --checkpoint FILE`")
    name = _free(suite, called, "--checkpoint")
    path = local(path)
    if not path.exists():
        raise Fault("data-missing", f"checkpoint {path} is not there")
    return (Given(name, adopted(path, store.weights, flags)),)


def called(suite: Suite, names: list[str], alias: str = "", checkpoint: Path | None = None) -> frozenset[str]:
    """The names that the models asked for have in records; `all` names none that stands beside."""
    if alias:
        return frozenset([alias])
    if checkpoint is not None:
        return frozenset(names or [legal(checkpoint.stem)])
    every = set(suite.methods()) - set(suite.beside) if ALL in names else set[str]()
    return frozenset(
        every | {legal(name) if name.startswith(TIMM) else name for name in names if name != ALL}
    )


def legal(name: str) -> str:
    """The name with what can be in no folder's name taken out; '' where nothing is left."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-")[:80]


def still_known(suite: Suite, store: Store, name: str) -> Trained | None:
    """A model of the suite, or one that was given a name; None where neither knows it any more."""
    try:
        return _named(suite, store, name)
    except Fault:  # its folder was taken out of the zoo since
        return None


def _pretrained(suite: Suite, store: Store, name: str) -> Given | None:
    """A network of timm with its own weights, if the name is one."""
    if not name.startswith(TIMM):
        return None
    return Given(_free(suite, legal(name), name), fetched(name, store.weights))


def _named(suite: Suite, store: Store, name: str) -> Trained:
    return suite.entry(name) if name in suite.models() else _remembered(store, name) or suite.entry(name)


def _remembered(store: Store, name: str) -> Trained | None:
    """The model that was once given this name, as the record of its pretraining has it."""
    records = [record for _, record in store.pretrainings(name) if record.model.get("name") == name]
    newest = max(records, key=lambda record: record.time.get("end", ""), default=None)
    if newest is None or newest.model.get("method") not in registry.names(METHODS):
        return None
    method = str(newest.model["method"])
    kind = type(recipes(method)["paper"][0])
    return Trained(name, method, build(kind, newest.protocol["settings"], f"the record of {name}"))


def _free(suite: Suite, name: str, option: str) -> str:
    """The name, if it can be a folder and is nobody's. Raises Fault otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise Fault("bad-config", f"model name {name!r} must be 1-80 letters, digits, '.', '_' or '-'")
    if name == ALL:
        raise Fault("bad-config", f"{option}: '{ALL}' means every method; name yours otherwise")
    if name in suite.models():
        raise Fault("bad-config", f"{option}: '{name}' is a model that the zoo trains; name yours otherwise")
    return name
