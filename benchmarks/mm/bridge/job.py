"""What a worker process is told, as a JSON file that only
this project writes. No torch and no mm package here.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from benchmarks.mm.bridge.settings import Detection, Segmentation
from pretrain.base import files
from pretrain.base.faults import Fault, printable
from pretrain.base.settings import settings

TAIL = 12  # lines of a log or a traceback in a message


@settings
class Job:
    """One training and test. weights: a backbone.safetensors, and sha256 its weights hash; root: the data
    set;

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


_JOB = TypeAdapter(Job)


def write(path: Path, job: Job) -> None:
    """Writes the job as JSON, absent or complete."""
    files.write(path, lambda aside: aside.write_bytes(_JOB.dump_json(job, indent=1)))


def read(path: Path) -> Job:
    """The job that `write` wrote. Raises Fault (bad-config) with the place, where it is no job."""
    try:
        return _JOB.validate_json(path.read_bytes())
    except OSError as error:
        raise Fault("bad-config", f"job {path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise Fault("bad-config", f"{path} is not a job of this version: {first(error)}") from None


def first(error: ValidationError) -> str:
    """The first thing that is wrong with a file, with its place, in one line."""
    one = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = printable(".".join(map(str, one["loc"])), 80)
    return f"{place or 'it'}: {one['msg'].removeprefix('Value error, ')}"
