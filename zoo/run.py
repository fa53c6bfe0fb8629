"""python -m zoo.run MODEL... : plan, pretrain, benchmark, fill the tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any

import typer

from benchmarks import shelf
from pretrain.base import cores
from pretrain.base.faults import Fault
from pretrain.base.lease import lease
from zoo.engines import engine as engines
from zoo.engines.engine import Allocation, Engine, Orders
from zoo.options import (
    HELP,
    Alias,
    All,
    AsJson,
    Chosen,
    Cpus,
    EvalSeeds,
    Extra,
    Given,
    Jobs,
    Limit,
    Models,
    Nodes,
    Notice,
    Out,
    Partition,
    Seeds,
    Sets,
    SuiteOption,
    Time,
    Tracker,
)
from zoo.plan import devices, hours, left_out, space
from zoo.plan.job import Job, Plan
from zoo.plan.planner import Planner
from zoo.request import Request, asked, resolve, with_known
from zoo.show import hours as times
from zoo.show import plan as plans
from zoo.show import tables
from zoo.show.progress import Display
from zoo.stopping import listen, one_sentence
from zoo.suites import builtin
from zoo.suites.suite import Trained
from zoo.trackers import mirror
from zoo.weights.options import flags, reading


class Overwrite(StrEnum):
    """missing: compute what is missing; always: compute again."""

    MISSING = "missing"
    ALWAYS = "always"


@reading
def run(
    models: Models = None,
    all_benchmarks: All = False,
    benchmarks: Chosen = None,
    suite: SuiteOption = "demo",
    checkpoint: Given = None,
    seeds: Seeds = "0",
    eval_seeds: EvalSeeds = "",
    alias: Alias = "",
    engine: Annotated[Engine, typer.Option(help=Engine.__doc__)] = Engine.INLINE,
    gpus: Annotated[int, typer.Option(help="GPUs to use; pretraining takes them all.", min=0)] = 0,
    jobs: Jobs = 1,
    out: Out = None,
    sets: Sets = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every job with its state and stop.")
    ] = False,
    overwrite: Annotated[Overwrite, typer.Option(help=Overwrite.__doc__)] = Overwrite.MISSING,
    no_wait: Annotated[
        bool,
        typer.Option("--no-wait", help="Stop where another works on a job; with slurm, submit and return."),
    ] = False,
    partition: Partition = "",
    nodes: Nodes = 1,
    cpus: Cpus = 0,
    time: Time = "",
    limit: Limit = 200,
    notice: Notice = 300,
    extra: Extra = None,
    tracker: Tracker = "",
    json: AsJson = False,
    **read: Any,
) -> None:
    """Pretrain models, run benchmarks, fill the tables; the same call again computes only what is missing."""
    listen()
    if tracker:
        mirror.choose(tracker)
    chosen = asked(all_benchmarks, benchmarks, suite)
    request = resolve(
        models or [], chosen, suite, out, sets or [], seeds, checkpoint, eval_seeds, alias, flags(**read)
    )
    planner, again = Planner(request), overwrite is Overwrite.ALWAYS
    if dry_run:
        machine = devices.at_hand(gpus)
        plans.show(planner.plan(), json, again=again, datasets=planner.datasets, machine=machine)
        return
    slurm = Allocation(partition, nodes, cpus, time, limit, notice, tuple(extra or ()))
    orders, display = Orders(again, gpus, jobs, not no_wait, slurm=slurm), Display()
    carry_out = engines.find(engine, orders)
    planner, plan = _prepared(planner, engine, orders, display)
    keep = _keeper(planner)
    plan = carry_out(plan, planner, replace(orders, kept=keep), display)
    if _first():
        keep()
        tables.show(plan, request.protocols, as_json=json)
        plans.summary(plan)
    raise typer.Exit(plan.code if _first() else 0)  # torchrun ends the others where one has a code


def _prepared(planner: Planner, engine: Engine, orders: Orders, display: Display) -> tuple[Planner, Plan]:
    """The plan, once everything is there that can be had beforehand. Raises Fault."""
    shelf.limit()  # one that is no number is refused now, not after hours of pretraining
    planner.request.store.tidy()
    drawn = planner.request.suite.drawn()  # before it is planned: another process may be drawing
    plan = planner.plan()
    if _ready(planner.request, orders, engine, plan, display, drawn):
        planner = Planner(planner.request)
        plan = planner.plan()
    display.jobs = len(plan)
    if _first():
        for line in filter(None, _foreword(planner, plan, orders)):
            display.line(line)
    return planner, plan


def _foreword(planner: Planner, plan: Plan, orders: Orders) -> Iterator[str]:
    """What is good to know before hours are spent; '' where there is nothing to say."""
    yield left_out.sentence(planner.datasets)
    if any(job.runs(orders.again) for job in plan):
        yield from plans.without_number(job for job in plan if _amiss(job, orders.again))
    yield cores.sentence()
    yield crowded(os.getloadavg()[0], os.cpu_count() or 1, os.environ)
    if (machine := devices.at_hand(orders.gpus)) is not None:
        yield times.sentence(hours.of_plan(plan, planner.datasets, machine), machine, orders.again)
    if space.short(plan, planner.datasets, orders.again):
        said = space.sentence(plan, planner.datasets, orders.again)
        yield f"the disk may be too small: {said}; free some, or choose another folder with --out"


def _amiss(job: Job, again: bool) -> bool:
    """Whether a job will give no number for a reason that can be mended; that raw pixels have no layers to
    detect with cannot.
    """
    unfit = job.state == "skip" and job.why is not None and job.why.reason == "bad-config"
    return not job.runs(again) and job.state != "done" and not unfit


def _keeper(planner: Planner) -> Callable[[], None]:
    """Writes tables.md with what there is now, of all models of the folder, where it can be written: a full
    disk or a read-only share ends no run, and the last lines say what failed.
    """
    whole = with_known(planner.request)

    def keep() -> None:
        with suppress(Fault):
            tables.write(Planner(whole, planner.datasets).plan())

    return keep


def _ready(
    request: Request, orders: Orders, engine: Engine, plan: Plan, display: Display, drawn: bool
) -> bool:
    """Checks, before the first second of work, what can be checked; draws the embedded data where they were
    not there (`drawn`) when it was planned, and says whether it has to be planned again. Raises Fault.
    """
    if drawn and not any(job.runs(orders.again) for job in plan):
        return False  # nothing to write: a finished zoo may lie on a read-only share
    _require_archs(plan)
    request.store.require_writable()
    if orders.gpus and engine is not Engine.SLURM:  # a login node has none
        import torch

        if (found := torch.cuda.device_count()) < orders.gpus:
            said = f"--gpus {orders.gpus} asked for, {found} found; run nvidia-smi to see why"
            raise Fault("dependency-missing", said)
    if not drawn:  # of several processes the first to come draws them, the others find them there
        with lease(request.store.lock("data"), orders.wait or not _first(), display.waiting):
            display.line(f"drawing the embedded data into {request.suite.root}")
            builtin.draw(request.suite)
    if _first() and orders.again:
        request.store.forget_caches()
    return not drawn


def _require_archs(plan: Plan) -> None:
    """Raises Fault where a model that is to be trained names an architecture that there is not."""
    from pretrain.nets import archs  # loads torch, which a plan does not

    for job in plan:
        if job.protocol is None and isinstance(job.entry, Trained) and job.state != "done":
            archs.require(job.entry.recipe.arch)


def crowded(load: float, there: int, environment: Mapping[str, str]) -> str:
    """What to do where others keep the cores busy, '' where they do not.

    Threads that wait for one another stand still while one of them waits for a core: with two threads on two
    cores that four others use, training was 30 times slower than with one.
    """
    if load < there or {cores.THREADS, cores.VARIABLE} & set(environment):
        return ""
    said = f"{load:.0f} processes are at work on {there} cores: {cores.VARIABLE}=1 may be many times faster"
    return f"{said} (training with another number of threads gives other digits)"


def _first() -> bool:
    """Whether this process speaks for those that torchrun has started."""
    return int(os.environ.get("RANK", "0")) == 0


def main() -> None:
    """Runs the command; whatever ends it is one sentence and an exit code."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(context_settings=HELP)(run)
    with one_sentence():
        cores.bind()
        single()


if __name__ == "__main__":
    main()
