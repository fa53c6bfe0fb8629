"""What code a module runs: a digest of its source and of all of ours that it imports, but for remarks.

A version says that a number may have moved; somebody must remember to raise it. The digest remembers.
"""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

from pretrain.base.identity import digest

OURS = ("benchmarks", "pretrain")
# Only carries and describes: changes of these move no number.
BESIDES = ("pretrain.base", "benchmarks.contract", "benchmarks.pictures")


def source(module: str) -> str:
    """Digest of the code that a module of ours consists of and imports, directly or not."""
    pending, codes = [module], dict[str, str]()
    while pending:
        name = pending.pop()
        if name not in codes:
            codes[name], imported = read(name)
            pending += imported
    return digest(dict(sorted(codes.items())))


@cache
def read(module: str) -> tuple[str, list[str]]:
    """The code of a module without docstrings and comments, and the modules of ours that it imports."""
    path = _file(module)
    if path is None or path.suffix != ".py":
        return "", []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = [name for node in ast.walk(tree) for name in _modules(node) if _counts(name)]
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree), imported


def _file(module: str) -> Path | None:
    """Where a module's code lies, or a package's folder; None where there is none. Nothing of it is run."""
    top, *parts = module.split(".")
    places, known = [Path(place) for place in import_module(top).__path__], top
    for i, part in enumerate(parts):
        for place in places:
            if (found := place / f"{part}.py").is_file():
                return found if i == len(parts) - 1 else None
        known = f"{known}.{part}"
        loaded = sys.modules.get(known)  # folders of plugins stand on the path of the package alone
        inside = [Path(place) for place in loaded.__path__] if loaded else [place / part for place in places]
        places = [place for place in inside if place.is_dir()]
    return places[0] if places else None


def _modules(node: ast.AST) -> list[str]:
    """Names that a statement may mean: of `from a import b`, a and a.b; of `python -m a.b`, "a.b"."""
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"\w+(\.\w+)+", node.value)
    ):
        return [node.value] if _counts(node.value) and _file(node.value) is not None else []
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        parts = [f"{node.module}.{alias.name}" for alias in node.names]
        return [
            node.module,
            *(name for name in parts if node.module.startswith(OURS) and _file(name) is not None),
        ]
    return []


def _counts(name: str) -> bool:
    return name.partition(".")[0] in OURS and not any(f"{name}.".startswith(f"{one}.") for one in BESIDES)
