"""`zoo verify`: what a checkpoint is, what of it is read, and what had to be assumed."""

from __future__ import annotations

import json
from pathlib import Path

from pretrain.nets.formats.contract import Flags
from zoo.weights import show


def verify(path: Path, flags: Flags, as_json: bool = False) -> None:
    """Reads the file as --checkpoint would and prints the report; writes nothing. Raises Fault as `read`
    does.
    """
    from pretrain.nets.formats.reading import read

    loaded = read(path, flags)
    if as_json:
        print(json.dumps(show.body(loaded), indent=2))
        return
    for line in show.report(loaded, everything=True):
        print(line)
