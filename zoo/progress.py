"""What people see while jobs run: bars on a terminal, one plain line per event elsewhere. All of it on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

QUIET_SECONDS = 15.0  # between plain lines of one job


class Display:
    """Shows one job at a time; `report` is what a job calls with (done, total, line)."""

    def __init__(self, jobs: int) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.jobs, self.number, self.label = jobs, 0, ""
        self._shown = 0.0
        self._bar: Progress | None = None

    @contextmanager
    def job(self, label: str) -> Iterator[None]:
        """Announces a job and shows its progress for as long as the block lasts."""
        self.number += 1
        self.label, self._shown, start = (
            f"[{self.number}/{self.jobs}] {label}",
            time.monotonic(),
            time.monotonic(),
        )
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[line]}"),
            )
            with Progress(*columns, console=self.console, transient=True) as self._bar:
                self._bar.add_task(self.label, total=None, line="")
                yield
        else:
            self.line(f"{self.label}: started")
            yield
        self.seconds = time.monotonic() - start

    def report(self, done: int, total: int, line: str) -> None:
        if self._bar is not None and self.console.is_terminal:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, line=line)
        elif time.monotonic() - self._shown > QUIET_SECONDS:
            self._shown = time.monotonic()
            self.line(f"{self.label}: {done}/{total} {line}")

    def line(self, text: str) -> None:
        """One line, with the time where the output is a log."""
        stamp = "" if self.console.is_terminal else time.strftime("%H:%M:%S ")
        self.console.print(f"{stamp}{text}", markup=False, soft_wrap=True)
