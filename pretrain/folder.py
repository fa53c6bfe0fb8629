"""The folder is the registry: a package's modules are its entries, found by their file names."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from pretrain.faults import unknown


def names(package: str) -> list[str]:
    """Names of the modules in a package, sorted."""
    path = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_"))


def load(package: str, name: str) -> ModuleType:
    """The module of that name. Raises Fault (bad-config) naming the nearest names if there is none."""
    known = names(package)
    if name not in known:
        raise unknown(package.rsplit(".", 1)[-1].rstrip("s"), name, known)
    return importlib.import_module(f"{package}.{name}")
