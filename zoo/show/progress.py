"""What people see while jobs run: bars on a terminal, one
plain line per event elsewhere. All of it on stderr.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.contract.table import Column
from zoo.plan.job import Job
from zoo.show.plan import reason

QUIET_SECONDS = 15.0  # between plain lines of one job
WARNING = "warning: "  # how a line begins that people must see
HEADLINES = 4  # numbers of a finished job that are shown at once


class Stderr:
    """stderr, whose terminal may be closed and whose disk may fill up: a line that cannot be written ends no
    training. A reader that has left is another thing: whoever pipes our output into `head` has seen enough.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def write(self, text: str) -> int:
        """The text, or nothing and no more of it from now on."""
        with self._lasting():
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Likewise."""
        with self._lasting():
            sys.stderr.flush()

    @contextmanager
    def _lasting(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


class Display:
    """Tells of the jobs of a plan as they start, go on and end."""

    def __init__(self, jobs: int = 0) -> None:
        # Of the processes that torchrun starts, the first speaks for all.
        file = cast(IO[str], Stderr()) if sys.stderr else None  # None: closed
        quiet = int(os.environ.get("RANK", "0")) > 0
        self.console = Console(file=file, stderr=True, highlight=False, quiet=quiet)
        self.jobs, self._numbers = jobs, dict[str, int]()
        self._label, self._shown, self._bar = "", 0.0, Progress(disable=True)
        self._started = dict[str, float]()

    def passed(self, job: Job) -> None:
        """A job that is not run: done before, skipped, or without weights."""
        why = job.why.reason if job.why is not None else reason(job)  # in full below the last job
        self.line(f"{self._numbered(job)}: {job.state} ({why})")

    @contextmanager
    def job(self, job: Job) -> Iterator[None]:
        """Announces a job and shows its progress for as long as the block lasts."""
        self._label, self._shown = self._numbered(job), time.monotonic()
        self._started[job.label] = time.monotonic()
        if not self.console.is_terminal:
            self.line(f"{self._label}: started")
            yield
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[line]}"),
        )
        with Progress(*columns, console=self.console, transient=True) as self._bar:
            self._bar.add_task(self._label, total=None, line="")
            yield

    def started(self, job: Job, log: Path) -> None:
        """A job that runs in a process of its own."""
        self._started[job.label] = time.monotonic()
        self.line(f"{self._numbered(job)}: started, log {log}")

    def report(self, done: int, total: int, line: str) -> None:
        """Progress of the job that runs; a warning is never held back."""
        if line.startswith(WARNING):
            self.line(f"{self._label}: {line}")
        elif self._bar.task_ids:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, line=line)
        elif time.monotonic() - self._shown > QUIET_SECONDS:
            self._shown = time.monotonic()
            self.line(f"{self._label}: {done}/{total} {line}")

    def ended(self, job: Job, log: Sequence[str] = ()) -> None:
        """A job that has run; log: the last lines of what its process printed."""
        label = self._numbered(job)
        if job.state == "failed":
            assert job.why is not None
            self.line(f"{label}: FAILED ({job.why.reason}): {job.why}")
            for line in log:
                self.line(f"    {line}")
            return
        began = self._started.get(job.label)  # of what another process has done, nobody saw the start
        said = "done" if began is None else f"done in {time.monotonic() - began:.0f} s"
        self.line("; ".join([f"{label}: {said}", *_headline(job)]))

    def waiting(self, holder: str) -> None:
        """Somebody else works on the job that comes next."""
        self.line(f"waiting for {holder}, which works on the next job")

    def line(self, text: str) -> None:
        """One line, with the time where the output is a log."""
        stamp = "" if self.console.is_terminal else time.strftime("%H:%M:%S ")
        self.console.print(f"{stamp}{text}", markup=False, soft_wrap=True)

    def _numbered(self, job: Job) -> str:
        number = self._numbers.setdefault(job.label, len(self._numbers) + 1)
        return f"[{number}/{self.jobs}] {job.label}"


def _headline(job: Job) -> list[str]:
    """The first numbers of a finished job: those that its table shows, or of the last iteration."""
    if job.record is None:
        return []
    scores = {score.name: score for score in job.record.metrics}
    columns = job.protocol.columns if job.protocol else [Column(name, name, 3) for name in scores]
    shown = [c for c in columns if c.show == "value" and c.score in scores][:HEADLINES]
    return [", ".join(f"{c.heading} {scores[c.score].value:.{c.digits}f}" for c in shown)] if shown else []
