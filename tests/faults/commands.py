"""The command in a process of its own, on a suite of a few images."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests import scenes

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def suite(
    folder: Path, protocols: Iterable[str] = ("clustering",), per_class: int = 16, **odc: object
) -> Path:
    """A suite file beside its images; odc: settings of the training, by default two short epochs."""
    images = scenes.folder(folder / "images", per_class=per_class)
    chosen = {"epochs": 2, "batch_size": 16, "clusters": 4, **odc}
    lines = [f"{name} = {value}" for name, value in chosen.items()]
    path = folder / "own.toml"
    path.write_text(
        f"variant = 'smoke'\nprotocols = {list(protocols)}\nbeside = []\n[data]\nimagenet = '{images}'\n[odc]\n"
        + "\n".join(lines)
    )
    return path


def argv(suite: Path, *words: str, out: Path | None = None, launcher: Iterable[str] = ()) -> list[str]:
    """The words that start `zoo` on a suite, with its results beside it."""
    place = out or suite.parent / "out"
    return [sys.executable, *launcher, "-m", "zoo", *words, "--suite", str(suite), "--out", str(place)]


def zoo(
    suite: Path, *words: str, out: Path | None = None, first: Iterable[str] = (), **env: str
) -> subprocess.CompletedProcess[str]:
    """The command, once it has ended; first: words before it, of a program that starts it."""
    given = {**ENVIRONMENT, **env}
    return subprocess.run(
        [*first, *argv(suite, *words, out=out)], capture_output=True, text=True, env=given, timeout=180
    )
