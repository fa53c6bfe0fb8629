"""A run as TensorBoard events, in `events/` of its folder: `tensorboard --logdir FOLDER`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TensorBoard:
    """Writes anew what is there: a resumed run hands over all of its lines."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder / "events", ignore_errors=True)
        self._writer: Any = SummaryWriter(str(folder / "events"))

    def write(self, step: int, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
