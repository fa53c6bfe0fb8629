"""`zoo convert`: a checkpoint of any known layout in the form that another program reads."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pretrain.base.faults import Fault
from pretrain.nets.formats.contract import Flags
from zoo.weights import show


def convert(source: Path, target: Path, to: str, flags: Flags, trust: bool = False) -> None:
    """Reads, reports on stderr, writes, and prints what the reader of the new file must be told.

    to: ours, torchvision, timm, mmdet, mmseg, detectron2, safetensors or onnx; trust: the file may run
    code, in a process of its own. Raises Fault as `reading.read` and `exporting.export` do, and where
    target is source.
    """
    from pretrain.nets.formats import adopting, exporting, kinds, trusted
    from pretrain.nets.formats.reading import read

    if target.exists() and source.exists() and target.samefile(source):
        raise Fault("bad-config", f"{target} is the file that is read; name another")
    with tempfile.TemporaryDirectory(prefix="zoo-convert.") as folder:
        given = source
        if trust:
            if not source.is_file():
                kinds.of(source)  # says what it is
            print(trusted.WARNING, file=sys.stderr, flush=True)
            given = Path(folder) / "tensors.pt"
            trusted.tensors_alone(source, given)
        try:
            loaded = read(given, flags)
        except Fault as error:  # of a file that the user knows
            raise Fault(error.reason, str(error).replace(str(given), str(source))) from None
    for line in show.report(loaded):
        print(line, file=sys.stderr)
    origin = adopting.origin(loaded, source.name, adopting.sha256(source), flags)
    notes = exporting.export(loaded, target, to, origin)
    print(f"{target}: {to}, {loaded.arch}, weights {loaded.sha256[:12]}")
    for note in notes:
        print(f"  {note}")
