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
from typing import Any

from pretrain.base.faults import Fault, printable
from pretrain.nets.formats import kinds

WARNING = (
    "warning: --trust runs whatever code the file holds, with your rights; "
    "go on only if you trust whoever made it as you trust a program"
)
LIMIT = 1800  # seconds


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
        tree = pickle.loads(Path(path).read_bytes())
    else:
        tree = torch.load(path, map_location="cpu", weights_only=False)
    torch.save(_tensors(tree), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
