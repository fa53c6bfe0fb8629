"""What took long to compute, kept on disk: found under all that decides it, believed only as it was written.

A file that was cut, edited or hit by a flipped bit differs from its checksum and is computed again. Reading
10 GB costs some ten seconds of hashing, computing them an hour.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contract.task import Task
from pretrain.base import files
from pretrain.base.identity import digest
from pretrain.nets.checkpoint import describe

Array = np.ndarray[Any, np.dtype[np.float32]]


def arrays(task: Task, what: Any, make: Callable[[], Sequence[Array]]) -> list[Array]:
    """Arrays that `make` computes from the task's weights and `what` (JSON values), memory-mapped."""
    sums = _path(task, what)
    paths = _whole(sums)
    if paths is None:
        made = make()
        paths = [sums.with_name(f"{sums.stem}-{i}.npy") for i in range(1, len(made) + 1)]
        for path, array in zip(paths, made, strict=True):
            _store(path, array)
        files.write_text(sums, json.dumps({path.name: _checksum(path) for path in paths}))
    return [np.load(path, mmap_mode="r") for path in paths]


def values(task: Task, what: Any, make: Callable[[], Any]) -> Any:
    """JSON values that `make` computes from the task's weights and `what`."""
    return remembered(_path(task, what), make)


def remembered(path: Path, make: Callable[[], Any]) -> Any:
    """JSON values that `make` computes, kept at a path for a job that goes on."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["digest"] == digest(kept["values"]):
            return kept["values"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # absent or damaged: computed again
    made = make()
    files.write_text(path, json.dumps({"values": made, "digest": digest(made)}))
    return made


def _path(task: Task, what: Any) -> Path:
    """Named by all that decides the contents: weights, data, arithmetic, kind of device."""
    identity = {
        **describe(task.checkpoint).identity(),
        **task.protocol.arithmetic(),
        "device": task.device.type,
        "what": what,
    }
    return task.cache / f"{digest(identity)}.json"


def _whole(sums: Path) -> list[Path] | None:
    """The arrays' files, if all are as they were written."""
    try:
        kept = json.loads(sums.read_text(encoding="utf-8"))
        paths = [sums.with_name(name) for name in kept]
        return paths if paths and all(_checksum(path) == kept[path.name] for path in paths) else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _store(path: Path, array: Array) -> None:
    def save(aside: Path) -> None:
        with aside.open("wb") as file:
            np.save(file, array)

    files.write(path, save)
