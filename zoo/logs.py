"""`zoo logs MODEL BENCHMARK`: what the process of a job has printed, of the engines that start one."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from pretrain.base.faults import Fault, unknown
from zoo.options import Out, SuiteOption
from zoo.store import Store
from zoo.suites.builtin import home

LAST = 40
POLL_SECONDS = 1.0

Name = Annotated[str, typer.Argument(help="Its name, or `pretrain`.")]
Seed = Annotated[str, typer.Option("--seed", help="The seed of the model, as `zoo run --seeds` had it.")]
Evaluation = Annotated[
    str, typer.Option("--eval-seed", help="That of the evaluation, where `zoo run --eval-seeds` had one.")
]
Lines = Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines; 0 for all.", min=0)]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is printed from now on.")]


def command(
    model: str,
    benchmark: Name,
    suite: SuiteOption = "demo",
    out: Out = None,
    seed: Seed = "0",
    eval_seed: Evaluation = "",
    lines: Lines = LAST,
    follow: Follow = False,
) -> None:
    """The log of a job: the end of it, all of it, or as it grows."""
    path = find(Store(home(suite, out)), model, benchmark, seed, eval_seed)
    print(path, file=sys.stderr)
    file = _opened(path)
    try:
        kept = deque(file, maxlen=lines or None)
        sys.stdout.write("".join(kept))
        sys.stdout.flush()
        while follow:
            file = _followed(file, path)
            line = file.readline()
            sys.stdout.write(line)
            sys.stdout.flush()
            time.sleep(0 if line else POLL_SECONDS)
    finally:
        file.close()


def _opened(path: Path) -> TextIOWrapper:
    return path.open(encoding="utf-8", errors="replace")


def _followed(file: TextIOWrapper, path: Path) -> TextIOWrapper:
    """The log to go on with: a job that is started again empties it, or writes another in its place."""
    try:
        now = path.stat()
        if now.st_ino != os.fstat(file.fileno()).st_ino:
            new = _opened(path)
            file.close()
            return new
    except OSError:  # gone for a moment
        return file
    if now.st_size < os.lseek(file.fileno(), 0, os.SEEK_CUR):
        file.seek(0)
    return file


def find(store: Store, model: str, benchmark: str, seed: str = "0", evaluation: str = "") -> Path:
    """The log of a job. Raises Fault where there is none, and names those that there are."""
    label = f"{model} {benchmark}" + (f" seed {seed}" if seed != "0" else "")
    label += f" evaluation {evaluation}" if evaluation not in ("", seed) else ""
    path = store.log(label)
    if path.exists():
        return path
    known = sorted(one.stem for one in path.parent.glob("*.log"))
    if not known:
        said = "only --engine local and --engine slurm keep logs; the inline engine prints on the terminal"
        raise Fault("data-missing", f"no log in {path.parent}: {said}")
    raise unknown("log", path.stem, known, str(path.parent))
