"""zoo hours MODEL... : how long every job of a plan takes on a machine, and what that costs. Runs nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from pretrain.base.faults import Fault
from zoo.options import All, AsJson, Chosen, Models, Out, Seeds, Sets, SuiteOption
from zoo.plan import devices, hours
from zoo.plan.planner import Planner
from zoo.request import asked, resolve
from zoo.show import hours as shown

On = Annotated[str, typer.Option("--on", help="Like 8xh100 or a100; by default this machine.")]
Price = Annotated[float | None, typer.Option("--price", min=0.0, help="Of one device for an hour.")]
Currency = Annotated[str, typer.Option("--currency", help="What the price is in.")]
Cores = Annotated[
    int, typer.Option("--cores", min=0, help="CPU cores of the machine; 0: as is usual for it.")
]


def command(
    models: Models = None,
    all_benchmarks: All = False,
    benchmarks: Chosen = None,
    suite: SuiteOption = "paper",
    on: On = "",
    price: Price = None,
    currency: Currency = "EUR",
    cores: Cores = 0,
    out: Out = None,
    sets: Sets = None,
    seeds: Seeds = "0",
    json: AsJson = False,
) -> None:
    """Hours and money of every job, done or not, with what binds it and what was assumed. Runs nothing."""
    chosen = asked(all_benchmarks, benchmarks or (None if all_benchmarks else "none"))
    request = resolve(models or [], chosen, suite, out, sets or [], seeds)
    machine = devices.named(on, cores) if on else devices.at_hand(0)
    if machine is None:
        said = (
            f"nothing is known of the GPU of this machine; say --on with one of {', '.join(devices.DEVICES)}"
        )
        raise Fault("bad-config", said)
    planner = Planner(request)
    found = hours.of_plan(planner.plan(), planner.datasets, machine)
    # What does not fit the architecture never runs.
    jobs = [(job, one) for job, one in found if not (job.why and job.why.reason == "bad-config")]
    print(shown.as_json(jobs, machine, price) if json else shown.table(jobs, machine, price, currency))
