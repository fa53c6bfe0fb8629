"""`zoo cluster` and `zoo embed` as people type them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.options import SuiteOption
from zoo.suites import builtin

Which = Annotated[str, typer.Argument(help="A model of the results folder, or a checkpoint file.")]
Folder = Annotated[Path, typer.Argument(help="Images at any depth below it.")]
Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of results that has the model. Default: runs/<suite>.")
]
Assignments = Annotated[Path, typer.Option("--out", help="A .csv or .parquet file to write.")]
Features = Annotated[Path, typer.Option("--out", help="A .npy or .parquet file to write.")]
Count = Annotated[
    int, typer.Option("--clusters", min=0, help="Find so many by k-means in these images instead.")
]
Head = Annotated[int, typer.Option("--head", min=0, help="Of a model with several sets of prototypes.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the model's pretraining, and of k-means.")]
Sheets = Annotated[
    Path | None, typer.Option("--sheets", help="Folder for a picture of each cluster, nearest images first.")
]
Most = Annotated[int, typer.Option("--sheet-images", min=1, max=400, help="On a picture at most.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="List images that cannot be read, and go on.")]
Layer = Annotated[str, typer.Option("--layer", help="avg; res1 to res5, pooled maps; neck, the projection.")]


def cluster(
    model: Which,
    folder: Folder,
    out: Assignments,
    clusters: Count = 0,
    head: Head = 0,
    sheets: Sheets = None,
    sheet_images: Most = 64,
    skip_bad: SkipBad = False,
    seed: Seed = 0,
    suite: SuiteOption = "demo",
    home: Home = None,
) -> None:
    """Which cluster each image of a folder belongs to, by what a model has learnt or by k-means."""
    from zoo.clusters import assign
    from zoo.clusters.model import find

    asked = assign.Asked(folder, out, clusters, head, seed, skip_bad)
    assign.cluster(find(model, builtin.home(suite, home), seed, suite), asked, sheets, sheet_images)


def embed(
    model: Which,
    folder: Folder,
    out: Features,
    layer: Layer = "avg",
    skip_bad: SkipBad = False,
    seed: Seed = 0,
    suite: SuiteOption = "demo",
    home: Home = None,
) -> None:
    """The features of each image of a folder; stopped in the middle, the same call goes on."""
    from zoo.clusters import assign
    from zoo.clusters.model import find

    asked = assign.Asked(folder, out, seed=seed, skip_bad=skip_bad)
    assign.embed(find(model, builtin.home(suite, home), seed, suite), asked, layer)
