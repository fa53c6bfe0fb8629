"""Hours of a plan in words, and their price."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from zoo.plan.devices import CPU, Machine
from zoo.plan.hours import Estimate
from zoo.plan.job import Job

Estimated = Sequence[tuple[Job, Estimate | None]]
# SwAV's authors needed 220 s an epoch on 64 V100: 3.6 times its arithmetic at NVIDIA's mixed precision.
REMARK = "at the rates of others' best code: two to four times as long is no surprise"


def to_do(job: Job, again: bool = False) -> bool:
    """Whether a job counts in what a plan will take; again: also what is done."""
    return job.state in ("todo", "stale", "failed") or (again and job.runs(again))


def sentence(found: Estimated, machine: Machine, again: bool = False) -> str:
    """What the jobs that are to be done take together, and how that is known; '' where nothing is known."""
    jobs = [(job, one) for job, one in found if to_do(job, again)]
    known = [one for _, one in jobs if one is not None]
    if not known:
        return ""
    measured = sum(one.measured for one in known)
    how = [f"{measured} by records of this folder"] if measured else []
    how += [f"{len(known) - measured} by arithmetic {REMARK}"] if measured < len(known) else []
    how += [f"{len(jobs) - len(known)} not known"] if len(known) < len(jobs) else []
    plural = "s" if len(jobs) > 1 else ""
    return f"about {spent(_sum(jobs))} on {machine.name} for {len(jobs)} job{plural}: {', '.join(how)}"


def phrase(one: Estimate | None) -> str:
    """Of one job, and what takes the time; '' where that is not known or no second."""
    return "" if one is None or one.seconds < 0.5 else f"about {spent(one.seconds)}: {one.binds}"


def spent(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"


def table(jobs: Estimated, machine: Machine, price: float | None, currency: str) -> str:
    """A line per job, the sum, and what was assumed; price: of an hour of one device, None: not said."""
    lines = [f"{'model':<20} {'job':<24} {'time':>10} {'device hours':>13}  {'binds':<10} {'':>10}".rstrip()]
    for job, one in jobs:
        name = f"{job.entry.name:<20} {job.name:<24}"
        if one is None:
            lines.append(f"{name} {'not known':>10}")
            continue
        lines.append(_line(name, one.seconds, machine, one.binds, price, currency))
    lines.append(_line(f"{'in all':<45}", _sum(jobs), machine, "", price, currency))
    return "\n".join([*lines, *assumptions(machine)])


def assumptions(machine: Machine) -> list[str]:
    """What the arithmetic takes for granted, a line each."""
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in machine.device.rates.items())
    per = "core" if machine.device.name == CPU else "device"
    return [
        f"on {machine.name} with {machine.cores} cores that read images; arithmetic {REMARK}",
        f"images/s of a ResNet-50 in training at 224 px, per {per}: {rates} ({machine.device.source})",
        "every job as if all devices shared it and nothing else ran; jobs that one process computes count one",
    ]


def as_json(jobs: Estimated, machine: Machine, price: float | None) -> str:
    """The same for programs."""
    rows = [{"model": job.entry.name, "job": job.name, "seed": job.seed, **values(one)} for job, one in jobs]
    hours = _sum(jobs) / 3600
    whole: dict[str, Any] = {"device": machine.device.name, "count": machine.count, "cores": machine.cores}
    whole |= {"hours": hours, "device_hours": hours * devices(machine), "jobs": rows}
    return json.dumps(
        whole | ({"price": hours * devices(machine) * price} if price is not None else {}), indent=1
    )


def values(one: Estimate | None) -> dict[str, Any]:
    """An estimate as JSON values."""
    if one is None:
        return {"seconds": None}
    return {"seconds": one.seconds, "binds": one.binds, "parts": dict(one.parts)}


def devices(machine: Machine) -> int:
    """What is paid for by the hour: GPUs, or the machine where there is none."""
    return 1 if machine.device.name == CPU else machine.count


def _line(name: str, seconds: float, machine: Machine, binds: str, price: float | None, currency: str) -> str:
    hours = seconds / 3600 * devices(machine)
    cost = f"{hours * price:,.2f} {currency}" if price is not None else ""
    return f"{name} {spent(seconds):>10} {hours:>13,.1f}  {binds:<10} {cost:>10}".rstrip()


def _sum(jobs: Estimated) -> float:
    return sum(one.seconds for _, one in jobs if one is not None)
