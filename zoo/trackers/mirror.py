"""metrics.jsonl as a tracker of experiments shows it: a mirror that follows a run, never the record itself.

A thread of its own reads the new lines and hands them on, so that training waits for no network. What goes
wrong there is one line for people, and the run goes on.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from pretrain.base.faults import Fault, unknown

VARIABLE = "ZOO_TRACKER"  # environment: names, comma-separated; the processes of a run inherit it
KINDS = {"tensorboard": "TensorBoard", "wandb": "Wandb", "mlflow": "Mlflow"}  # name: the class in its file
PATIENCE = 10.0  # seconds that the end of a run waits for the last lines

Report = Callable[[int, int, str], None]
Row = dict[str, float]


class Tracker(Protocol):
    """Made as cls(folder, name, settings): of a run's folder, what it is called there, its recipe."""

    def write(self, step: int, row: Row) -> None:
        """The numbers of a line of metrics.jsonl."""

    def close(self) -> None:
        """The run has ended."""


def choose(names: str) -> None:
    """The trackers of every run of this process and its children. Raises Fault on an unknown one, and where
    its package is not installed.
    """
    for name in chosen(names):
        if name not in KINDS:
            raise unknown("tracker", name, KINDS)
        if importlib.util.find_spec(name) is None:
            said = f"--tracker {name}: {name} is not installed; pip install 'cluster-zoo[{name}]'"
            raise Fault("dependency-missing", said)
    os.environ[VARIABLE] = names


def chosen(names: str) -> list[str]:
    """Names of a comma-separated list."""
    return [name.strip() for name in names.split(",") if name.strip()]


def numbers(lines: Iterable[str | bytes]) -> Iterator[tuple[int, Row]]:
    """The step of each line of metrics.jsonl, and what numbers it has beside. Damaged lines are left out."""
    for line in lines:
        with suppress(ValueError, AttributeError, KeyError):
            row = {k: v for k, v in json.loads(line).items() if isinstance(v, (int, float))}
            yield int(row.pop("iteration")), row


@contextmanager
def following(folder: Path, name: str, settings: Mapping[str, Any], report: Report) -> Iterator[Report]:
    """What a run reports to for as long as the block lasts: `report`, and the trackers of the environment."""
    kinds = chosen(os.environ.get(VARIABLE, ""))
    if not kinds or int(os.environ.get("RANK", "0")) > 0:
        yield report
        return
    mirror = Mirror(folder / "metrics.jsonl", kinds, name, settings)

    def told(done: int, total: int, line: str) -> None:
        report(done, total, line)
        for wrong in mirror.look():
            report(done, total, f"warning: {wrong}")

    try:
        yield told
    finally:
        for wrong in mirror.close():
            report(0, 0, f"warning: {wrong}")


class Mirror:
    """The thread that follows a file, and what went wrong in it."""

    def __init__(self, path: Path, kinds: list[str], name: str, settings: Mapping[str, Any]) -> None:
        self.path, self.made_of = path, (path.parent, name, settings)
        self._kinds, self._trackers, self._read = kinds, dict[str, Tracker](), 0
        self._wrong = list[str]()
        self._news, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="trackers")
        self._thread.start()

    def look(self) -> list[str]:
        """There may be new lines; sentences about what went wrong since the last call."""
        self._news.set()
        said, self._wrong = self._wrong, []
        return said

    def close(self) -> list[str]:
        """The run has ended: waits, not for long, until its last lines are handed on."""
        self._over.set()
        self._news.set()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._wrong.append(
                f"trackers have not taken all lines within {PATIENCE:g} s; metrics.jsonl has them"
            )
        return self.look()

    def _run(self) -> None:
        while not self._over.is_set():
            self._news.wait()
            self._news.clear()
            self._hand_on()
        self._hand_on()
        for kind in list(self._trackers):
            self._carefully(kind, lambda tracker: tracker.close())

    def _hand_on(self) -> None:
        for step, row in numbers(self._new_lines()):
            for kind in list(self._kinds):
                self._carefully(kind, lambda tracker, step=step, row=row: tracker.write(step, row))  # type: ignore[misc]

    def _new_lines(self) -> list[bytes]:
        """Whole lines that were not read before; a run that starts anew has cut its file."""
        if not self.path.exists():
            return []
        if self.path.stat().st_size < self._read:
            self._read = 0
        with self.path.open("rb") as file:
            file.seek(self._read)
            whole = file.read()
        whole = whole[: whole.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.splitlines()

    def _carefully(self, kind: str, work: Callable[[Tracker], None]) -> None:
        """Hands over to a tracker; one that fails is left alone from then on."""
        try:
            if kind not in self._trackers:
                made = getattr(importlib.import_module(f"zoo.trackers.{kind}"), KINDS[kind])
                self._trackers[kind] = made(*self.made_of)
            work(self._trackers[kind])
        except Exception as error:  # any type: they are other people's programs
            self._kinds = [other for other in self._kinds if other != kind]
            self._trackers.pop(kind, None)
            first = next(iter(str(error).splitlines()), "")
            self._wrong.append(
                f"tracker {kind} is given up, {type(error).__name__}: {first}; training goes on"
            )
