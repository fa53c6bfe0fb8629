"""Which records of a home are those of its suite as it stands, where a trial has several of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pretrain.base.faults import Fault
from zoo.plan.planner import Planner
from zoo.request import Request, everything


def counted(request: Request) -> frozenset[Path]:
    """Paths of the records that the plan of a request finds under the keys of its jobs.

    Pages show these, as the tables do: a run with other settings (`--set`) leaves a newer record, not another
    answer. Costs a look at every data set.
    """
    ended = (job for job in Planner(request).plan() if job.state in ("done", "failed"))
    return frozenset(job.path for job in ended if job.path is not None)


def of_suite(suite: str, out: Path | None, sets: Sequence[str] = ()) -> frozenset[Path]:
    """`counted` for a suite and all that its home holds; none where the suite knows no model of it."""
    try:
        request = everything(suite, out, list(sets))
    except Fault as fault:
        if fault.reason != "data-missing":
            raise
        return frozenset()
    return counted(request)
