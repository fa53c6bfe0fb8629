"""One job in a process of its own: JOB.json in, its record out. `python -m zoo.engines.child JOB.json`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from benchmarks.contract.result import Result
from pretrain.base import cores, files, process
from pretrain.base.faults import Fault, Reason
from pretrain.base.settings import build, plain
from zoo.jobs import record
from zoo.plan.job import FULL, Job
from zoo.store import Store
from zoo.suites.suite import Entry, Given, Suite, Trained, recipes

if TYPE_CHECKING:
    import torch

JOB = "JOB.json"
_SUITE = TypeAdapter(Suite)
NO_SPACE: tuple[Reason, str] = ("disk-full", "found no space on the disk (free some and run again)")


def write(job: Job, suite: Suite, store: Store) -> Path:
    """Leaves all that a process needs to carry out the job in its folder; returns the file's path."""
    assert job.folder is not None
    body = {
        "suite": _SUITE.dump_python(suite, mode="json"),
        "home": str(store.home.absolute()),
        "entry": _plain(job.entry),
        "benchmark": job.protocol.name if job.protocol else None,
        "seed": job.seed,
        "trained": job.trained,
        "identity": job.identity,
        "folder": str(job.folder.absolute()),
        "weights": str(job.weights.absolute()) if job.weights else None,
    }
    path = job.folder / JOB
    files.write_text(path, json.dumps(body, indent=1, allow_nan=False))
    return path


def read(path: Path) -> tuple[Job, Suite, Store]:
    """The job that `write` wrote, its suite and its store."""
    body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    suite, store = _SUITE.validate_python(body["suite"]), Store(Path(body["home"]))
    job = Job(
        entry=_entry(body["entry"], path),
        protocol=suite.catalogue()[body["benchmark"]] if body["benchmark"] else None,
        seed=body["seed"],
        trained=body["trained"],
        identity=body["identity"],
        folder=Path(body["folder"]),
        weights=Path(body["weights"]) if body["weights"] else None,
    )
    return job, suite, store


def _plain(entry: Entry) -> dict[str, Any]:
    """A model as it was planned: the suite knows neither what its recipe has adapted to nor other names."""
    if isinstance(entry, Given):
        return {"name": entry.name, "path": str(entry.path.absolute()) if entry.path else None}
    return {"name": entry.name, "method": entry.method, "recipe": plain(entry.recipe, every=True)}


def _entry(body: dict[str, Any], path: Path) -> Entry:
    if "method" not in body:
        return Given(body["name"], Path(body["path"]) if body["path"] else None)
    kind = type(recipes(body["method"])["demo"][0])
    return Trained(body["name"], body["method"], build(kind, body["recipe"], str(path)))


def main(path: Path) -> int:
    """Carries out the job of a file; 0 where its record says ok, 6 where the disk was full: there may be no
    record then. Under torchrun all ranks do, the first records.
    """
    with group() as device:
        return carried_out(path, device)


@contextmanager
def group() -> Iterator[torch.device]:
    """The device of this process, which ends with its parent, in the group of those that work with it."""
    process.follow_parent()
    cores.bind()
    import torch

    from pretrain.base import dist

    with dist.group("cuda" if torch.cuda.is_available() else "cpu") as device:
        yield device


def carried_out(path: Path, device: torch.device) -> int:
    """The exit code of `main`, within a group."""
    from zoo.jobs import benchmark, pretrain
    from zoo.jobs.place import Place
    from zoo.plan.datasets import Datasets
    from zoo.show.progress import Display

    job, suite, store = read(path)
    display = Display(1)
    place = Place(suite, store, Datasets(suite, store.fingerprints), device, display.report)
    with display.job(job), record.recording(job, suite.name) as found:
        work = pretrain if job.protocol is None else benchmark
        found.outcome = work.run(job, place)
    if found.record is None or found.record.status == "ok":
        return 0
    print(f"{found.record.reason}: {found.record.message}", file=sys.stderr)
    return FULL if found.record.reason == "disk-full" else 1


def left_nothing(job: Job, suite: str, ended: process.Child) -> Result:
    """Writes the failed record of a job whose process has ended without leaving one, and returns it."""
    assert ended.code is not None
    reason, how = process.autopsy(ended.code)
    if ended.code == FULL:
        reason, how = NO_SPACE
    fault = Fault(reason, f"its process {how} and left no record; see {ended.log}")
    return record.keep(job, record.made(job, suite, ended.started, fault))


def clear(job: Job) -> None:
    """Empties the job's folder: what is computed again must not go on from where it was. JOB.json stays,
    which its other processes may be about to read.
    """
    assert job.folder is not None
    for path in job.folder.glob("*"):
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != JOB:
                path.unlink()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
