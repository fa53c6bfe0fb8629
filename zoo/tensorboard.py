"""metrics.jsonl as TensorBoard events: a mirror that can be
deleted and made again, never the record itself.
"""

from __future__ import annotations

import importlib.util
from contextlib import closing
from pathlib import Path

from pretrain.base.faults import Fault
from zoo.trackers.mirror import numbers
from zoo.trackers.tensorboard import TensorBoard


def mirror(home: Path) -> list[Path]:
    """Writes events/ beside every metrics.jsonl below a suite's folder; returns the folders written."""
    if importlib.util.find_spec("tensorboard") is None:
        said = "tensorboard is not installed; pip install 'cluster-zoo[tensorboard]'"
        raise Fault("dependency-missing", said)
    written = []
    for metrics in sorted(home.glob("models/*/metrics.jsonl")):
        with closing(TensorBoard(metrics.parent, metrics.parent.name, {})) as events:
            for step, row in numbers(metrics.read_bytes().splitlines()):
                events.write(step, row)
        written.append(metrics.parent / "events")
    return written
