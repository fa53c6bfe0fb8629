"""A run for Weights & Biases, offline in `wandb/` of its folder: `wandb sync` sends it, whenever that suits.

WANDB_MODE=online in the environment sends it while it trains.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROJECT = "cluster-zoo"


class Wandb:
    """The folder's name is the run's id, so that the parts of a resumed run meet again."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        wandb: Any = importlib.import_module("wandb")

        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=str(folder),
            id=folder.name,
            name=name,
            config=dict(settings),
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(silent=True, console="off"),
        )

    def write(self, step: int, row: Mapping[str, float]) -> None:
        self._run.log(dict(row), step=step)

    def close(self) -> None:
        self._run.finish()
