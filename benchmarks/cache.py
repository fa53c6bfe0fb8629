"""What took long to compute, kept on disk: found under all that decides it, believed only as it was written.

Reading 10 GB costs some ten seconds of hashing, computing them an hour. Of two jobs that want the same at the
same time the second waits and reads; the processes of one job compute together, and the first one writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import shelf
from benchmarks.contract.task import Task
from benchmarks.shelf import Array, Create
from pretrain.base import dist, files
from pretrain.base.identity import digest
from pretrain.base.lease import lease
from pretrain.nets.checkpoint import describe

Fill = Callable[[Create | None], object]


def arrays(task: Task, what: Any, fill: Fill, by: dict[str, Any] | None = None) -> list[Array]:
    """Arrays that `fill` computes from the task's weights and `what` (JSON values), memory-mapped, read-only.

    fill: called in every process of a job; the first gets what creates the arrays, the others None. by: what
    decides the arithmetic, by default version, packages and numerics of the protocol. Raises Fault on a full
    disk. Each home has room for ZOO_FEATURES_GB gigabytes; beyond that, what is longest unused goes.
    """
    place, first = _place(task, what, by), dist.rank() == 0
    found = shelf.opened(place) if first else None
    if not dist.agreed(found is not None):
        with _alone(task, place) if first else nullcontext():
            found = shelf.opened(place) if first else None  # another job made it while this one waited
            if not dist.agreed(found is not None):
                _stock(task, place, what, fill)
                found = shelf.opened(place, check=False) if first else None
    dist.barrier()
    found = shelf.opened(place, check=False) if found is None else found
    assert found is not None, place
    if first:
        shelf.clean(task.cache, shelf.limit())
    return found


def _stock(task: Task, place: Path, what: Any, fill: Fill) -> None:
    if dist.rank():
        fill(None)
        return
    with shelf.stocked(place, {"model": task.checkpoint.parent.name, "what": what}) as create:
        fill(create)


def values(task: Task, what: Any, make: Callable[[], Any]) -> Any:
    """JSON values that `make` computes from the task's weights and `what`.

    make: called in every process of a job, and gives the same values in each.
    """
    place, first = _place(task, what), dist.rank() == 0
    path = place.with_name(f"{place.name}.json")
    with _alone(task, place) if first else nullcontext():
        known = dist.gather_object(recalled(path) if first else None)[0]
        if known is not None:
            return known.values
        made = make()
        return keep(path, made) if first else made


class Known(NamedTuple):
    """values: as they were kept, None among them."""

    values: Any


def recalled(path: Path) -> Known | None:
    """What `keep` left at a path; None where it is absent or damaged, and has to be computed again."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Known(kept["values"]) if kept["digest"] == digest(kept["values"]) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def keep(path: Path, values: Any) -> Any:
    """JSON values, after they were written to a path for a job that goes on."""
    files.write_text(path, json.dumps({"values": values, "digest": digest(values)}))
    return values


def _place(task: Task, what: Any, by: dict[str, Any] | None = None) -> Path:
    """Named by all that decides the contents: weights, data, arithmetic, kind of device."""
    meta = describe(task.checkpoint)
    identity = {
        **meta.identity(),
        **(task.protocol.arithmetic() if by is None else by),
        "device": task.device.type,
        "what": what,
    }
    return task.cache / meta.sha256[:12] / digest(identity)


def _alone(task: Task, place: Path) -> AbstractContextManager[None]:
    """Holds the place; where another job does, says so and waits."""
    return lease(
        shelf.lock(place), waiting=lambda who: task.report(0, 1, f"waiting for {who}: same features")
    )
