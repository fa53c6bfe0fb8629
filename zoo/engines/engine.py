"""What an engine is: it carries out a plan and gives back the
plan as it ended. One module each in this folder.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pretrain.base.faults import Fault
from zoo.plan.job import Plan
from zoo.plan.planner import Planner

if TYPE_CHECKING:
    from zoo.show.progress import Display


class Engine(StrEnum):
    """inline: this process, one job after the other; local: a process per job, on GPU slots or with --jobs on
    shares of the cores; slurm: a job of the cluster's queue per job.
    """

    INLINE = "inline"
    LOCAL = "local"
    SLURM = "slurm"


@dataclass(frozen=True)
class Allocation:
    """What is asked of SLURM. partition, time: its own words, '' for the cluster's defaults; nodes: of a
    pretraining, each with the GPUs of the orders; cpus: cores of a process, 0 for the default; limit: jobs in
    the queue at a time; notice: seconds before the time limit when a job goes back to the queue; extra:
    further options of sbatch.
    """

    partition: str = ""
    nodes: int = 1
    cpus: int = 0
    time: str = ""
    limit: int = 200
    notice: int = 300
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Orders:
    """How a plan is to be carried out. again: also what is done; gpus: to use (of SLURM: on each node); jobs:
    at a time without GPUs; wait: for jobs that others work on (of SLURM: until the last has ended, not only
    until they are in its queue); kept: called whenever a job has left its record; slurm: what is asked of it.
    """

    again: bool = False
    gpus: int = 0
    jobs: int = 1
    wait: bool = True
    kept: Callable[[], None] = lambda: None
    slurm: Allocation = Allocation()


Run = Callable[[Plan, Planner, Orders, "Display"], Plan]


def find(engine: Engine, orders: Orders) -> Run:
    """The engine's `run`. Raises Fault where it cannot do what it is asked for."""
    gpus, jobs = orders.gpus, orders.jobs
    if engine is Engine.INLINE and gpus > 1:
        said = f"--gpus {gpus} needs processes of their own, which --engine {engine} does not start"
        raise Fault("bad-config", f"{said}; say --engine local, or start this command with torchrun")
    if jobs > 1 and (gpus or engine is not Engine.LOCAL):
        said = f"--jobs {jobs} shares the cores of this machine out, with --engine local and without --gpus"
        raise Fault(
            "bad-config", f"{said}; with --gpus as many run as there are, with slurm as --slurm-limit says"
        )
    found: Run = importlib.import_module(f"zoo.engines.{engine}").run
    return found
