"""What a worker process is told, as a JSON file that only this project writes. No torch and no mm package here."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mm.settings import Detection, Segmentation
from pretrain import files

PARENT = "ZOO_MM_PARENT"  # environment: process id of whoever waits for the worker
TAIL = 12  # lines of a log or a traceback in a message


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training and test. weights: a backbone.safetensors, and sha256 its weights hash; root: the data set;

    work: the job's own folder; gpus: processes, each with a GPU of its own, or 0 for one process on the CPU.
    """

    weights: Path
    sha256: str
    root: Path
    work: Path
    seed: int
    gpus: int
    settings: Detection | Segmentation

    @property
    def processes(self) -> int:
        return max(1, self.gpus)


def write(path: Path, job: Job) -> None:
    """Writes the job as JSON, absent or complete."""
    body: dict[str, Any] = dataclasses.asdict(job)
    body["kind"] = type(job.settings).__name__
    files.write_text(path, json.dumps(body, default=str, indent=1, allow_nan=False))


def read(path: Path) -> Job:
    """The job that `write` wrote."""
    body = json.loads(path.read_text(encoding="utf-8"))
    kind = {c.__name__: c for c in (Detection, Segmentation)}[body.pop("kind")]
    settings = kind(**{name: _tuples(value) for name, value in body.pop("settings").items()})
    for name in ("weights", "root", "work"):
        body[name] = Path(body[name])
    return Job(settings=settings, **body)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
