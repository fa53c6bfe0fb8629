"""What a run says of itself while it trains: metrics.jsonl, the
progress line, and the alarm of a loss that is lost.
"""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from pretrain.base import dist, files
from pretrain.base.faults import Fault
from pretrain.base.lagged import Lagged
from pretrain.train.alarms import Alarms
from pretrain.train.method import At, Loss
from pretrain.train.online import Online
from pretrain.train.state import Progress, Report, Run


class Told:
    """Tells people of steps, and of the long work between them, of which the number of steps says nothing."""

    def __init__(self, report: Report, total: int) -> None:
        self.report, self.done, self.total = report, 0, total

    def __call__(self, done: int, total: int, line: str) -> None:
        self.done = done
        self.report(done, total, line)

    def phase(self, what: str, done: int, total: int) -> None:
        """A part of a k-means or of a pass over all images is done."""
        self.report(self.done, self.total, f"{what}: {done:,} of {total:,}")


class Meter:
    """Sums losses on the device, writes a line per interval, and stops the run on a non-finite loss.

    The loss of a step is looked at while the next one runs, so a GPU never waits for the host.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.online, self.alarms = Online(run), Alarms(run.recipe, run.progress)
        self.pending: tuple[Lagged, str] | None = None
        self.restart()

    def restart(self) -> None:
        """Begins an interval, of steps alone: after a clustering, or a line."""
        self.sum, self.steps = torch.zeros((), device=self.run.data.device), 0
        self.since = time.perf_counter()

    def add(self, at: At, loss: Loss, lr: float, last: bool) -> None:
        """Takes a step's loss; writes a line at each interval and at the end of the epoch."""
        self._look()
        progress, value = self.run.progress, loss.value.detach()
        self.pending = (Lagged(value), f"epoch {progress.epoch + 1}, iteration {progress.iteration}")
        self.sum += value.float()
        self.steps += 1
        if last or progress.iteration % self.run.recipe.log_every == 0:
            self.flush()
            row = self._row(lr)
            if last:
                row |= self.run.method.epoch_diagnostics(self.run.data, at, loss)
                row |= self.alarms.epoch(row)
                row |= self.online.look(row["epoch"])
            self._write(row)
            self.restart()

    def flush(self) -> None:
        """Waits for the last loss and checks it: called before anything is saved."""
        self._look()
        self.pending = None

    def _look(self) -> None:
        if self.pending is None:
            return
        value, where = self.pending[0].read(), self.pending[1]
        if not math.isfinite(value):
            said = f"the loss is {value} at {where}; the last saved state is untouched, try a lower learning rate"
            raise Fault("nan", f"{self.run.recipe.name}: {said}")

    def _row(self, lr: float) -> dict[str, Any]:
        run, progress = self.run, self.run.progress
        return {
            "epoch": progress.epoch + 1,
            "iteration": progress.epoch * run.per_epoch + progress.iteration,
            "loss": (
                dist.all_reduce_sum_(self.sum) / (self.steps * dist.world_size())
            ).item(),  # of all processes
            "lr": lr,
            "images_per_s": self.steps * run.recipe.batch_size / (time.perf_counter() - self.since),
            "seconds": run.seconds,
            **run.method.diagnostics(),
        }

    def _write(self, row: dict[str, Any]) -> None:
        run = self.run
        if dist.rank() == 0:
            _append(run.out / "metrics.jsonl", run.progress, row)
        total = run.recipe.epochs * run.per_epoch
        line = f"epoch {row['epoch']}/{run.recipe.epochs} loss {row['loss']:.3f}{self.online.said}"
        run.report(row["iteration"], total, f"{line} {row['images_per_s']:.0f} images/s")
        if warning := self.alarms.new(row):
            run.report(row["iteration"], total, f"warning: {warning}")


def _append(path: Path, progress: Progress, row: dict[str, Any]) -> None:
    """One JSON object per line, one write per line."""
    line = json.dumps({k: _finite(v) for k, v in row.items()}) + "\n"
    with files.explained(path), path.open("ab", buffering=0) as file:
        file.write(line.encode())
    progress.written += len(line.encode())


def last(metrics: Path) -> dict[str, Any]:
    """The last line that can be read; {} without one: a damaged file is no reason to lose the weights."""
    lines = metrics.read_text(encoding="utf-8", errors="replace").splitlines() if metrics.exists() else []
    for line in reversed(lines):
        with suppress(ValueError):
            found: dict[str, Any] = json.loads(line)
            return found
    return {}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
