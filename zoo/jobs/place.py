"""What carrying out a job needs beside the job itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.plan.datasets import Datasets
from zoo.store import Store
from zoo.suites.suite import Suite

if TYPE_CHECKING:
    import torch

Report = Callable[[int, int, str], None]  # done, total, one line for people


@dataclass(frozen=True)
class Place:
    """Where a job is carried out: its suite's data, its folders, a device, and who is told of progress."""

    suite: Suite
    store: Store
    datasets: Datasets
    device: torch.device
    report: Report
