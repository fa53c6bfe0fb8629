"""The folder is the registry: methods, protocols and data sets are found by the names of their folders and
files.

Folders of the user's own take part: ZOO_PLUGINS names folders (separated as PATH is), an installed package
announces itself by an entry point of the group `zoo.plugins` whose value is its name. Inside,
`methods/NAME/`, `protocols/NAME/` and `sets/NAME.py` are laid out as in this repository.
"""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

from pretrain.base.faults import Fault, unknown

PLUGINS = "ZOO_PLUGINS"
GROUP = "zoo.plugins"


def names(package: str) -> dict[str, str]:
    """Names of the entries of a package, sorted, with the folders that hold them. Raises Fault where two hold
    entries of one name.
    """
    found: dict[str, str] = {}
    for folder in _opened(package).__path__:
        for name in filter(None, map(_entry, Path(folder).iterdir())):
            if name in found:
                said = f"'{name}' is both in {found[name]} and in {folder}; rename one of them"
                raise Fault("bad-config", f"plugins: {said}")
            found[name] = folder
    return dict(sorted(found.items()))


def _entry(path: Path) -> str:
    """The name of an entry: a Python file, or a folder with some; '' for what is none."""
    if path.name.startswith(("_", ".")):
        return ""
    return path.stem if path.suffix == ".py" else path.name if any(path.glob("*.py")) else ""


def load(package: str, name: str, part: str = "", declares: Sequence[str] = ()) -> ModuleType:
    """The module of that name, or a part of the entry that is a folder.

    declares: names that it must have. Raises Fault naming the nearest entries, the names that it lacks, or
    why it cannot be imported.
    """
    known = names(package)
    if name not in known:
        raise unknown(package.rsplit(".", 1)[-1].rstrip("s"), name, known)
    module = _imported(".".join(filter(None, (package, name, part))), known[name])
    if lacking := [one for one in declares if not hasattr(module, one)]:
        said = f"{module.__file__} declares no {', '.join(lacking)}; expected {', '.join(declares)}"
        raise Fault("bad-config", f"{said} (CONTRIBUTING.md has an example)")
    return module


def _imported(module: str, folder: str) -> ModuleType:
    """The module. Raises Fault where it is not in the folder, or its code fails."""
    try:
        return importlib.import_module(module)
    except Fault:
        raise
    except SyntaxError as error:
        raise Fault("bad-config", f"{error.filename}, line {error.lineno}: {error.msg}; mend it") from None
    except Exception as error:
        own = [one for one in traceback.extract_tb(error.__traceback__) if one.filename.startswith(folder)]
        place = f"{own[-1].filename}, line {own[-1].lineno}" if own else folder
        said = f"{module} cannot be imported: {type(error).__name__}: {error}"
        raise Fault("bad-config", f"{said} ({place})") from error


@cache
def _opened(package: str) -> ModuleType:
    """The package, with the plugins' folders of its last name on its search path."""
    module = importlib.import_module(package)
    for plugin in _plugins():
        folder = plugin / package.rpartition(".")[2]
        if folder.is_dir():
            module.__path__.append(str(folder))
    return module


def _plugins() -> list[Path]:
    listed = [Path(name) for name in os.environ.get(PLUGINS, "").split(os.pathsep) if name]
    for folder in listed:
        if not folder.is_dir():
            raise Fault("bad-config", f"{PLUGINS}: {folder} is not a folder")
    installed = [importlib.import_module(point.value) for point in metadata.entry_points(group=GROUP)]
    return [*listed, *(Path(folder) for module in installed for folder in module.__path__)]
