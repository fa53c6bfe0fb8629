"""metrics.jsonl as TensorBoard events: a mirror that can be
deleted and made again, never the record itself.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pretrain.base.faults import Fault


def mirror(home: Path) -> list[Path]:
    """Writes events/ beside every metrics.jsonl below a suite's folder; returns the folders written."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        said = "tensorboard is not installed; pip install 'cluster-zoo[tensorboard]'"
        raise Fault("dependency-missing", said) from None
    written = []
    for metrics in sorted(home.glob("models/*/metrics.jsonl")):
        folder = metrics.parent / "events"
        shutil.rmtree(folder, ignore_errors=True)
        with SummaryWriter(str(folder)) as writer:
            for line in metrics.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                step = row.pop("iteration")
                for name, value in row.items():
                    if isinstance(value, (int, float)):
                        writer.add_scalar(name, value, step)
        written.append(folder)
    return written
