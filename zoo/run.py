"""python -m zoo.run MODEL... : plan, pretrain, benchmark, fill the tables."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from pretrain.faults import Fault
from zoo import show
from zoo.call import Call, asked
from zoo.plan import Job

Models = Annotated[list[str], typer.Argument(help="Names from `zoo list`, or any name with --checkpoint.")]
SuiteOption = Annotated[str, typer.Option("--suite", help="demo, smoke, paper, or a TOML file.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of all results. Default: runs/<suite>.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="NAME.FIELD=VALUE, NAME a model or protocol.")]
Chosen = Annotated[str | None, typer.Option("--benchmarks", help="Comma-separated names; 'none' only pretrains.")]
All = Annotated[bool, typer.Option("--all-benchmarks", help="Every benchmark of the suite.")]
Seeds = Annotated[str, typer.Option("--seeds", help="Comma-separated; tables show the mean and its spread.")]
Given = Annotated[Path | None, typer.Option("--checkpoint", help="Evaluate this file instead of pretraining.")]


def run(
    models: Models,
    all_benchmarks: All = False,
    benchmarks: Chosen = None,
    suite: SuiteOption = "demo",
    checkpoint: Given = None,
    seeds: Seeds = "0",
    engine: Annotated[str, typer.Option(help="inline: this process; local: a process per job, GPU slots.")] = "inline",
    gpus: Annotated[int, typer.Option(help="GPUs to use; pretraining takes them all.")] = 0,
    out: Out = None,
    sets: Sets = None,
    dry_run: Annotated[bool, typer.Option(help="Print every job with its state and stop.")] = False,
    overwrite: Annotated[
        str, typer.Option(help="missing: compute what is missing; always: compute again.")
    ] = "missing",
    alone: Annotated[
        bool, typer.Option(hidden=True, help="A job of a local engine: no other rows, no tables.")
    ] = False,
    json: Annotated[bool, typer.Option(help="Print the jobs and their records as JSON.")] = False,
) -> None:
    """Pretrain models, run benchmarks, fill the tables; the same call again computes only what is missing."""
    signal.signal(signal.SIGTERM, _terminate)
    call = Call(models, asked(all_benchmarks, benchmarks), suite, out, sets or [], seeds, checkpoint, alone)
    jobs = call.plan()
    if dry_run:
        show.plan(jobs, as_json=json)
        return
    from zoo import execute

    execute.ready(call.home, overwrite, gpus)
    failed = execute.run(call, jobs, engine, gpus, again=overwrite == "always")
    if int(os.environ.get("RANK", "0")) == 0 and not alone:
        show.tables(call, as_json=json)
    asked_for = [job for job in call.plan() if job.entry.name in models]
    raise typer.Exit(_code(failed, asked_for, by_name=benchmarks is not None))


def _code(failed: bool, jobs: list[Job], by_name: bool) -> int:
    """Of the jobs of the models asked for: 0 all present; 1 something failed; 4 something needed is missing.

    Of benchmarks asked for by name everything is needed; of all benchmarks only data, not an optional package.
    """
    if failed:
        return 1
    skipped = [job for job in jobs if job.state == "skip"]
    return 4 if any(by_name or job.reason.startswith("data-missing") for job in skipped) else 0


def _terminate(number: int, _: Any) -> NoReturn:
    raise SystemExit(128 + number)


def guarded(application: typer.Typer) -> None:
    """Runs an application; a Fault becomes one sentence and exit code 2 (usage) or 4 (something is missing)."""
    try:
        application()
    except Fault as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(4 if fault.reason in ("data-missing", "dependency-missing") else 2)
    except KeyboardInterrupt:
        print("\ninterrupted; everything finished so far is kept, the same command continues", file=sys.stderr)
        sys.exit(130)


def main() -> None:
    """Runs the command; a Fault becomes one sentence and an exit code."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command()(run)
    guarded(single)


if __name__ == "__main__":
    main()
