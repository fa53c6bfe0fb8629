"""What detection and segmentation run: a training and test of mm's, in a process of its own."""

from __future__ import annotations

from benchmarks.contract.score import Score
from benchmarks.contract.task import Outcome, Task
from benchmarks.mm.bridge import keep, launch


def run(task: Task) -> Outcome:
    """The scores of the network at the end of its training, and what the worker met in the data."""
    keep.asked()  # a word that is wrong is said now, not after the training
    record = launch.run(launch.job(task), task.report)
    part, scores = task.protocol.report_on, record.pop("metrics")
    return Outcome([Score(name, value, record["images"], part) for name, value in scores.items()], record)
