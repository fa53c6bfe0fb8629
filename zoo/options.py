"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Models = Annotated[list[str], typer.Argument(help="Names from `zoo list`, or any name with --checkpoint.")]
SuiteOption = Annotated[str, typer.Option("--suite", help="demo, smoke, paper, or a TOML file.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of all results. Default: runs/<suite>.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="NAME.FIELD=VALUE, NAME a model or benchmark.")]
Chosen = Annotated[
    str | None, typer.Option("--benchmarks", help="Comma-separated names; 'none' only pretrains.")
]
All = Annotated[bool, typer.Option("--all-benchmarks", help="Every benchmark of the suite.")]
Seeds = Annotated[str, typer.Option("--seeds", help="Comma-separated; tables show the mean and its spread.")]
Given = Annotated[
    Path | None, typer.Option("--checkpoint", help="Evaluate this file instead of pretraining.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
