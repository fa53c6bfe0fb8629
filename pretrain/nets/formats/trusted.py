"""A checkpoint that runs code when it is read, read in a process of its own: `python -m ... IN OUT`.

Whatever the file wants to run is run, with the rights of the user. OUT holds its tensors alone, in the
same dicts.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pretrain.base.faults import Fault, printable
from pretrain.nets.formats import kinds

WARNING = (
    "warning: --trust runs whatever code the file holds, with your rights; "
    "go on only if you trust whoever made it as you trust a program"
)
LIMIT = 1800  # seconds
SHOWN = 8  # lines about absent classes
ABSENT = "left out, it cannot be imported here: "


def tensors_alone(path: Path, out: Path) -> None:
    """Writes the tensors of a file that needs code to be read, from a process of its own.

    Raises Fault (weights-corrupt) with the last words of that process if it fails.
    """
    words = [sys.executable, "-m", __name__, str(path.resolve()), str(out.resolve())]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise Fault("timeout", f"{path}: reading it took more than {LIMIT} s") from None
    if done.returncode or not out.exists():
        last = printable((done.stderr.strip().splitlines() or ["no word"])[-1], 300)
        raise Fault("weights-corrupt", f"{path}: the process that read it failed ({last})")
    absent = dict.fromkeys(line for line in done.stderr.splitlines() if line.startswith(ABSENT))
    for line in list(absent)[:SHOWN]:
        print(printable(line, 160), file=sys.stderr)


class Absent(dict[Any, Any]):
    """In place of a class that is not installed here: what it holds as a dict is kept, nothing else."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # of an instance that is the key of a dict

    def __new__(cls, *_: Any, **__: Any) -> Absent:
        return dict.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        """As of a list."""

    def extend(self, _: Any) -> None:
        """As of a list."""


class Unpickler(pickle.Unpickler):
    """Python's own, which takes notes of classes that are not here in place of failing at them."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            print(f"{ABSENT}{module}.{name}", file=sys.stderr)
            return Absent


def _tensors(tree: Any, depth: int = 0) -> Any:
    """Dicts of tensors, arrays among them; a module is its state_dict, everything else is None: that a
    name is there tells layouts apart.
    """
    import numpy as np
    import torch

    if isinstance(tree, np.ndarray) and tree.dtype.kind in "fiub":
        tree = torch.from_numpy(tree.astype(tree.dtype.newbyteorder("=")))
    if isinstance(tree, torch.Tensor):
        return tree.detach().cpu().clone()
    if isinstance(tree, torch.nn.Module):
        tree = tree.state_dict()
    if not isinstance(tree, Mapping) or depth > 12:
        return None
    return {key: _tensors(one, depth + 1) for key, one in tree.items() if isinstance(key, str)}


def main(path: str, out: str) -> None:
    """Runs in the process of its own."""
    import torch

    if kinds.of(Path(path)) == "pickle":
        with Path(path).open("rb") as file:
            tree = Unpickler(file).load()
    else:
        reader = ModuleType("reader")
        reader.__dict__.update(Unpickler=Unpickler, load=pickle.load)
        tree = torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    torch.save(_tensors(tree), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
