"""The `zoo` command. Everything but `run` answers without importing torch."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo.options import AsJson, Chosen, Given, Models, Out, Seeds, Sets, SuiteOption
from zoo.plan.planner import Planner
from zoo.request import asked, everything, resolve
from zoo.run import one_sentence, run
from zoo.show import catalogue, tables
from zoo.show import explain as explanations
from zoo.show import plan as plans
from zoo.store import PRETRAIN

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Clustering-based self-supervised learning: pretrain, benchmark, fill the model zoo's tables.",
)
app.command()(run)


@app.command(name="list")
def list_(suite: SuiteOption = "demo", out: Out = None, json: AsJson = False) -> None:
    """Every model with the names of its recipes, every benchmark, every suite."""
    catalogue.show(suite, out, json)


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
    request = resolve(
        models, asked(benchmarks is None, benchmarks), suite, out, sets or [], seeds, checkpoint
    )
    plans.show(Planner(request).plan(), as_json=json, settings=True)


@app.command()
def status(suite: SuiteOption = "demo", out: Out = None, sets: Sets = None, json: AsJson = False) -> None:
    """What has been computed for the models in a suite's folder, and what is stale, failed or missing."""
    plans.show(Planner(everything(suite, out, sets or [])).plan(), as_json=json)


@app.command()
def explain(
    model: str,
    benchmark: Annotated[str, typer.Argument(help="Its name, or `pretrain`.")],
    suite: SuiteOption = "demo",
    out: Out = None,
    sets: Sets = None,
    seeds: Seeds = "0",
) -> None:
    """Why a number is there, stale or missing, field by field."""
    names = [] if benchmark == PRETRAIN else [benchmark]
    request = resolve([model], names, suite, out, sets or [], seeds)
    explanations.show(Planner(request).plan(), model, benchmark)


@app.command()
def report(suite: SuiteOption = "demo", out: Out = None, sets: Sets = None, json: AsJson = False) -> None:
    """The tables of a suite, from its records."""
    tables.show(Planner(everything(suite, out, sets or [])).plan(), as_json=json)


@app.command()
def tensorboard(suite: SuiteOption = "demo", out: Out = None) -> None:
    """Mirror every metrics.jsonl as TensorBoard events; run it again to refresh."""
    from zoo import tensorboard
    from zoo.suites.builtin import home

    for folder in tensorboard.mirror(home(suite, out)):
        print(folder)


def main() -> None:
    """Entry point of the `zoo` script."""
    with one_sentence():
        app()


if __name__ == "__main__":
    main()
