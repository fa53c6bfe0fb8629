"""What the worker watches while mm trains: the starting weights, the loss, progress, the last scores."""

from __future__ import annotations

import json
import math
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner

from benchmarks.mm.worker import resume
from benchmarks.mm.worker.backbone import matched
from pretrain.base.faults import Fault

EVERY = 0.5  # seconds between two progress lines
LOOK = 20  # iterations between two looks at the loss: each waits for the GPU


class Watch(Hook):  # type: ignore[misc]
    """Progress goes to `progress` as JSON lines {done, total, eta, line}; `scores` holds the last test's
    metrics.

    Raises:
        Fault: weights-mismatch before the first step, nan when the loss or a score is not finite.
    """

    priority = "VERY_LOW"

    def __init__(self, weights: Path, progress: Path) -> None:
        self.weights, self.progress = weights, progress
        self.scores: dict[str, float] = {}
        self._random: Any = None
        self._begun, self._first, self._said = time.monotonic(), 0, 0.0

    def before_train(self, runner: Runner) -> None:
        self._begun, self._first = time.monotonic(), runner.iter
        if runner.iter == 0:
            runner.message_hub.update_info(resume.INFO, matched(_bare(runner), self.weights))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        kept = resume.needed(checkpoint, Path(runner.work_dir))
        checkpoint.clear()
        checkpoint.update(kept)
        if runner.world_size == 1:  # of several the first alone saves
            checkpoint[resume.RANDOM] = resume.random_state()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        resume.fitting(_bare(runner), checkpoint, Path(runner.work_dir))
        self._random = checkpoint.get(resume.RANDOM) if runner.world_size == 1 else None

    def before_train_epoch(self, runner: Runner) -> None:
        """Of a training that goes on: its random numbers, too. mm first draws, once more, what it was trained
        on, where it counts iterations.
        """
        if (saved := self._random) is None:
            return
        self._random, loop = None, runner.train_loop
        restore = partial(resume.set_random_state, saved, Path(runner.work_dir) / "last_checkpoint")
        if isinstance(loop, IterBasedTrainLoop):
            loop.dataloader_iterator = resume.Advanced(loop.dataloader_iterator, runner.iter, restore)
        else:
            restore()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        done, total = runner.iter + 1, runner.max_iters
        if done % LOOK == 0 and not math.isfinite(loss := float(outputs["loss"].detach())):
            raise Fault(
                "nan", f"the loss is {loss} at iteration {done} of {total}; lower lr or lengthen warmup"
            )
        spent = time.monotonic() - self._begun
        eta = spent / (done - self._first) * (total - done)
        self._say(done, total, eta, "training")

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        total = len(runner.val_dataloader)
        self._say(runner.max_iters, runner.max_iters, None, f"testing {batch_idx + 1}/{total}")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.scores = {name.split("/")[-1]: float(value) for name, value in (metrics or {}).items()}
        if wrong := [name for name, value in self.scores.items() if not math.isfinite(value)]:
            raise Fault("nan", f"the test's {', '.join(wrong)} came out as {self.scores[wrong[0]]}; lower lr")

    def _say(self, done: int, total: int, eta: float | None, line: str) -> None:
        now = time.monotonic()
        if now - self._said < EVERY or int(os.environ.get("RANK", "0")):
            return
        self._said = now
        with self.progress.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"done": done, "total": total, "eta": eta, "line": line}) + "\n")


def _bare(runner: Runner) -> Any:
    """The model without what spreads it over processes."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
