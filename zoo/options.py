"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HELP = {"help_option_names": ["-h", "--help"]}

Models = Annotated[
    list[str] | None,
    typer.Argument(help="Names from `zoo list`, timm:NAME, or with --checkpoint any name or none."),
]
SuiteOption = Annotated[str, typer.Option("--suite", help="demo, smoke, cifar, paper, or a TOML file.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of all results. Default: runs/<suite>.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="NAME.FIELD=VALUE, NAME a model or benchmark.")]
Chosen = Annotated[
    str | None, typer.Option("--benchmarks", help="Comma-separated names; 'none' only pretrains.")
]
All = Annotated[bool, typer.Option("--all-benchmarks", help="Every benchmark of the suite.")]
Seeds = Annotated[
    str, typer.Option("--seeds", help="Like 0,1,2 or 0-4; tables show the mean and its spread.")
]
EvalSeeds = Annotated[
    str, typer.Option("--eval-seeds", help="Seeds of the benchmarks, where they are not the model's.")
]
Alias = Annotated[
    str, typer.Option("--as", help="Name the model with these settings, to find and compare it later.")
]
Given = Annotated[
    Path | None, typer.Option("--checkpoint", help="Evaluate this file, https:// or hf://ORG/NAME@REV/FILE.")
]
Tracker = Annotated[
    str,
    typer.Option(
        "--tracker", help="tensorboard, wandb or mlflow, comma-separated: they follow the training."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]

Jobs = Annotated[
    int,
    typer.Option(
        min=1, help="Benchmarks at a time where there is no GPU (--engine local); they share the cores out."
    ),
]

# What is asked of SLURM; a panel of its own in --help.
_SLURM = "SLURM (--engine slurm)"
Partition = Annotated[
    str, typer.Option("--slurm-partition", rich_help_panel=_SLURM, help="By default the cluster's.")
]
Nodes = Annotated[
    int,
    typer.Option("--slurm-nodes", min=1, rich_help_panel=_SLURM, help="Of a pretraining, each with --gpus."),
]
Cpus = Annotated[
    int,
    typer.Option("--slurm-cpus", min=0, rich_help_panel=_SLURM, help="Cores of a process; 0: the default."),
]
Time = Annotated[
    str, typer.Option("--slurm-time", rich_help_panel=_SLURM, help="Limit of a job, as sbatch has it.")
]
Limit = Annotated[
    int, typer.Option("--slurm-limit", min=1, rich_help_panel=_SLURM, help="Jobs in the queue at a time.")
]
Notice = Annotated[
    int,
    typer.Option(
        "--slurm-notice", min=0, rich_help_panel=_SLURM, help="Seconds before the limit when a job requeues."
    ),
]
Extra = Annotated[
    list[str] | None,
    typer.Option("--slurm-extra", rich_help_panel=_SLURM, help="An option of sbatch; repeatable."),
]
