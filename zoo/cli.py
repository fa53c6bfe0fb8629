"""The `zoo` command. Everything but `run` answers without importing torch."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo import show
from zoo.call import Call, asked
from zoo.run import Chosen, Given, Models, Out, Seeds, Sets, SuiteOption, guarded, run

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Clustering-based self-supervised learning: pretrain, benchmark, fill the model zoo's tables.",
)
app.command()(run)
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.command(name="list")
def list_(suite: SuiteOption = "demo", out: Out = None, json: AsJson = False) -> None:
    """Every model with the names of its recipes, every benchmark, every suite."""
    show.catalogue(suite, out, json)


@app.command()
def plan(
    models: Models,
    benchmarks: Chosen = None,
    suite: SuiteOption = "demo",
    checkpoint: Given = None,
    seeds: Seeds = "0",
    out: Out = None,
    sets: Sets = None,
    json: AsJson = False,
) -> None:
    """Every job with its state, its full settings and, if it is skipped, what is missing. Runs nothing."""
    call = Call(models, asked(benchmarks is None, benchmarks), suite, out, sets or [], seeds, checkpoint)
    show.plan(call.plan(), as_json=json, settings=True)


@app.command()
def status(suite: SuiteOption = "demo", out: Out = None, json: AsJson = False) -> None:
    """What has been computed for the models in a suite's folder, and what is stale, failed or missing."""
    show.status(suite, out, json)


@app.command()
def explain(
    model: str,
    protocol: str,
    suite: SuiteOption = "demo",
    out: Out = None,
    sets: Sets = None,
    seeds: Seeds = "0",
) -> None:
    """Why a number is there, stale or missing, field by field. PROTOCOL may be `pretrain`."""
    names = [] if protocol == "pretrain" else [protocol]
    call = Call([model], names, suite, out, sets or [], seeds, None)
    show.explain(call, protocol)


@app.command()
def report(suite: SuiteOption = "demo", out: Out = None, json: AsJson = False) -> None:
    """The tables of a suite, from its records."""
    show.tables(show.everything(suite, out), as_json=json)


@app.command()
def tensorboard(suite: SuiteOption = "demo", out: Out = None) -> None:
    """Mirror every metrics.jsonl as TensorBoard events; run it again to refresh."""
    from zoo import mirror
    from zoo.suite import home

    for folder in mirror.tensorboard(home(suite, out)):
        print(folder)


def main() -> None:
    """Entry point of the `zoo` script."""
    guarded(app)


if __name__ == "__main__":
    main()
