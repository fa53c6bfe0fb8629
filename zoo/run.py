"""python -m zoo.run MODEL... : plan, pretrain, benchmark, fill the tables."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer

from pretrain.base import files
from pretrain.base.faults import Fault
from zoo.engines import engine as engines
from zoo.engines.engine import Engine, Orders
from zoo.options import All, AsJson, Chosen, Given, Models, Out, Seeds, Sets, SuiteOption
from zoo.plan.planner import Planner
from zoo.request import Request, asked, resolve
from zoo.show import plan as plans
from zoo.show import tables
from zoo.show.progress import Display
from zoo.suites import builtin

INTERRUPTED = 130


class Overwrite(StrEnum):
    """missing: compute what is missing; always: compute again."""

    MISSING = "missing"
    ALWAYS = "always"


def run(
    models: Models,
    all_benchmarks: All = False,
    benchmarks: Chosen = None,
    suite: SuiteOption = "demo",
    checkpoint: Given = None,
    seeds: Seeds = "0",
    engine: Annotated[Engine, typer.Option(help=Engine.__doc__)] = Engine.INLINE,
    gpus: Annotated[int, typer.Option(help="GPUs to use; pretraining takes them all.", min=0)] = 0,
    out: Out = None,
    sets: Sets = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every job with its state and stop.")
    ] = False,
    overwrite: Annotated[Overwrite, typer.Option(help=Overwrite.__doc__)] = Overwrite.MISSING,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Stop where another process works on a job.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Pretrain models, run benchmarks, fill the tables; the same call again computes only what is missing."""
    signal.signal(signal.SIGTERM, _terminate)
    request = resolve(models, asked(all_benchmarks, benchmarks), suite, out, sets or [], seeds, checkpoint)
    planner = Planner(request)
    if dry_run:
        plans.show(planner.plan(), as_json=json)
        return
    carry_out = engines.find(engine, gpus)
    orders = Orders(again=overwrite is Overwrite.ALWAYS, gpus=gpus, wait=not no_wait)
    _ready(request, orders)
    plan = planner.plan()
    plan = carry_out(plan, planner, orders, Display(len(plan)))
    if _first():
        tables.show(plan, as_json=json)
    raise typer.Exit(plan.code)


def _ready(request: Request, orders: Orders) -> None:
    """Checks, before the first second of work, what can be checked; draws the embedded data. Raises Fault."""
    home = request.store.home
    with files.explained(home):
        home.mkdir(parents=True, exist_ok=True)
        probe = home / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    if orders.gpus:
        import torch

        if (found := torch.cuda.device_count()) < orders.gpus:
            said = f"--gpus {orders.gpus} asked for, {found} found; run nvidia-smi to see why"
            raise Fault("dependency-missing", said)
    if _first():
        builtin.draw(request.suite)
        if orders.again:
            request.store.forget_caches()


def _first() -> bool:
    """Whether this process speaks for those that torchrun has started."""
    return int(os.environ.get("RANK", "0")) == 0


def _terminate(number: int, _: Any) -> NoReturn:
    raise SystemExit(128 + number)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turns what ends a command into one sentence and an exit
    code: 2 wrong usage, 4 something is missing, 130.
    """
    try:
        yield
    except Fault as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(4 if fault.reason in ("data-missing", "dependency-missing") else 2)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # what typer makes of Ctrl-C
            print(
                "\ninterrupted; everything finished so far is kept, the same command continues",
                file=sys.stderr,
            )
        raise


def main() -> None:
    """Runs the command; whatever ends it is one sentence and an exit code."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command()(run)
    with one_sentence():
        single()


if __name__ == "__main__":
    main()
