"""What a run says of itself once, while it still trains: what is wrong, and what to try."""

from __future__ import annotations

import math
from typing import Any

from pretrain.train.recipe import Recipe
from pretrain.train.state import Progress

EPOCHS = 3  # one after the other whose loss is that of guessing
NEAR = 0.01  # of ln K: a loss closer to it than that is its own


class Alarms:
    """The warnings of a run: each kind of them is told once. A kind is what stands before the colon."""

    def __init__(self, recipe: Recipe, progress: Progress) -> None:
        # Only where the labels of an epoch are classes of a softmax over so many clusters.
        self.outputs = int(getattr(recipe, "clusters", 0))
        self.progress = progress
        self._told = set[str]()

    def epoch(self, row: dict[str, Any]) -> dict[str, str]:
        """{"warning": a sentence} for the last line of an epoch whose method has none: is nothing learnt?"""
        near = self.outputs > 1 and abs(row["loss"] / math.log(self.outputs) - 1) < NEAR
        guessed = self.progress.guessed = self.progress.guessed + 1 if near else 0
        if guessed < EPOCHS or "warning" in row:
            return {}
        said = f"the labels cannot be learnt: the loss is that of guessing after {guessed} epochs"
        return {"warning": f"{said}; weaker colour augmentation, a Sobel input or fewer clusters helped"}

    def new(self, row: dict[str, Any]) -> str:
        """The warning of a line whose kind was not told before; empty without one."""
        said = str(row.get("warning", ""))
        kind = said.partition(":")[0]
        if not said or kind in self._told:
            return ""
        self._told.add(kind)
        return said
