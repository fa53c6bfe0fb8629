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

    from pretrain.nets.backbone import Backbone

Report = Callable[[int, int, str], None]  # done, total, one line for people


@dataclass(frozen=True)
class Place:
    """Where a job is carried out: its suite's data, its folders, a device, and who is told of progress.

    backbone: the model's, where it is no file that can be loaded but a module of the calling program.
    """

    suite: Suite
    store: Store
    datasets: Datasets
    device: torch.device
    report: Report
    backbone: Backbone | None = None
