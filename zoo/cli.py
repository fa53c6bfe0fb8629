"""The `zoo` command. Everything but `run` answers without importing torch."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from benchmarks.contract.protocol import version
from pretrain.base import cores
from pretrain.base.faults import Fault, printable
from zoo import clean, compare, gate, hours, logs, report, serve
from zoo.clusters import commands as clusters
from zoo.engines import slurm_queue
from zoo.options import HELP, Alias, AsJson, Chosen, EvalSeeds, Given, Models, Out, Seeds, Sets, SuiteOption
from zoo.plan import devices
from zoo.plan.planner import Planner
from zoo.request import about, asked, everything, resolve
from zoo.run import run
from zoo.show import catalogue, checks
from zoo.show import explain as explanations
from zoo.show import plan as plans
from zoo.stopping import listen, one_sentence
from zoo.store import PRETRAIN
from zoo.suites import builtin
from zoo.weights import commands, publish
from zoo.weights.options import flags, reading


def _version(asked: bool) -> None:
    if asked:
        print(f"cluster-zoo {version('cluster-zoo')}")
        raise typer.Exit


app = typer.Typer(
    context_settings=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Clustering-based self-supervised learning: pretrain, benchmark, fill the model zoo's tables.",
)
app.command()(run)
app.command(name="report")(report.command)
app.command(name="gate")(gate.command)
app.command()(commands.convert)
app.command()(commands.verify)
app.command(name="publish")(publish.command)
app.command(name="clean")(clean.command)
app.command()(clusters.cluster)
app.command()(clusters.embed)
app.command(name="hours")(hours.command)
app.command(name="logs")(logs.command)
app.command(name="compare")(compare.command)
app.command(name="serve")(serve.command)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Without a docstring of its own typer would show this one."""


@app.command(name="list")
def list_(suite: SuiteOption = "demo", out: Out = None, json: AsJson = False) -> None:
    """Every model with the names of its recipes, every benchmark, every suite."""
    catalogue.show(suite, out, json)


@app.command()
@reading
def plan(
    models: Models = None,
    benchmarks: Chosen = None,
    suite: SuiteOption = "demo",
    checkpoint: Given = None,
    seeds: Seeds = "0",
    out: Out = None,
    sets: Sets = None,
    alias: Alias = "",
    json: AsJson = False,
    **read: Any,
) -> None:
    """Every job with its state, its full settings and, if it is skipped, what is missing. Runs nothing."""
    chosen = asked(benchmarks is None, benchmarks)
    request = resolve(
        models or [], chosen, suite, out, sets or [], seeds, checkpoint, "", alias, flags(**read)
    )
    planner = Planner(request)
    machine = devices.at_hand(0)
    plans.show(planner.plan(), json, settings=True, datasets=planner.datasets, machine=machine)


@app.command()
def status(suite: SuiteOption = "demo", out: Out = None, sets: Sets = None, json: AsJson = False) -> None:
    """What has been computed for the models in a suite's folder, and what is stale, failed or missing."""
    queued = slurm_queue.lines(builtin.home(suite, out))
    try:
        plans.show(Planner(everything(suite, out, sets or [])).plan(), as_json=json)
    except Fault as fault:
        if not queued or fault.reason != "data-missing":
            raise
        if json:  # no model has a record yet, and the first is in the queue
            print("[]")
    for line in queued:
        print(line, file=sys.stderr)


@app.command()
def cancel(
    model: Annotated[str, typer.Argument(help="Its jobs alone; without it, all of the suite's.")] = "",
    benchmark: Annotated[str, typer.Argument(help="Of that model, or `pretrain`.")] = "",
    suite: SuiteOption = "demo",
    out: Out = None,
) -> None:
    """Take jobs of a suite out of SLURM's queue; what waits for them gets the reason."""
    home = builtin.home(suite, out)
    taken = slurm_queue.cancel(home, model, benchmark)
    for seen in taken:
        print(seen)
    if not taken:
        whose = " ".join(filter(None, (model, benchmark))) or "this suite"
        print(f"nothing to cancel: no job of {printable(whose)} is in the queue of {home}", file=sys.stderr)


@app.command()
def explain(
    model: str,
    benchmark: Annotated[str, typer.Argument(help="Its name, or `pretrain`.")],
    suite: SuiteOption = "demo",
    out: Out = None,
    sets: Sets = None,
    seeds: Seeds = "0",
    eval_seeds: EvalSeeds = "",
) -> None:
    """Why a number is there, stale or missing, field by field."""
    names = [] if benchmark == PRETRAIN else [benchmark]
    request = about(model, names, suite, out, sets or [], seeds, eval_seeds)
    explanations.show(Planner(request).plan(), benchmark)


@app.command(name="check-data")
def check_data(suite: SuiteOption = "demo", out: Out = None) -> None:
    """Look at every image of a suite's data; print each bad one, as a suite's `exclude` file takes them."""
    raise typer.Exit(checks.show(suite, out))


@app.command()
def tensorboard(suite: SuiteOption = "demo", out: Out = None) -> None:
    """Mirror every metrics.jsonl as TensorBoard events; run it again to refresh."""
    from zoo import tensorboard

    place = builtin.home(suite, out)
    folders = list(tensorboard.mirror(place))
    for folder in folders:
        print(folder)
    if not folders:
        raise Fault("data-missing", f"no metrics.jsonl below {place}; pretrain a model first")
    print(f"look at them with: tensorboard --logdir {place}")


def main() -> None:
    """Entry point of the `zoo` script."""
    listen()
    with one_sentence():
        cores.bind()
        app()


if __name__ == "__main__":
    main()
