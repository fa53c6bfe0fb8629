"""Whether every class has the images that an SVM needs: known before any feature is computed."""

from __future__ import annotations

import numpy as np

from benchmarks.contract.task import Task
from pretrain.base.faults import Fault


def require_folds(task: Task) -> None:
    """Raises Fault (bad-config) naming the classes that cannot be cross-validated or have no AP.

    The mean over the other classes would be another number than the published one, so it is not taken.
    """
    folds = task.protocol.settings.folds
    if said := _short(task, "train", folds, folds, difficult=True):
        least = f"{folds} folds need at least {folds} of each"
        fewest = int(_counts(task, "train", difficult=True).min())
        fewer = f" or set {task.protocol.name}.folds={fewest}" if fewest > 1 else ""
        raise Fault("bad-config", f"{task.protocol.name}: {said}; {least}; add images{fewer}")
    if said := _short(task, "test", 1, 0):
        raise Fault("bad-config", f"{task.protocol.name}: {said}; without a positive there is no AP; add one")


def undrawable(task: Task) -> dict[int, str]:
    """For each k that cannot be drawn, or whose test has no AP, the reason."""
    settings = task.protocol.settings
    if said := _short(task, "test", 1, 0):
        return dict.fromkeys(settings.ks, f"{said}; without a positive there is no AP")
    short = {k: _short(task, "train", k, settings.negatives * k) for k in settings.ks}
    return {k: f"{said}; k={k} needs {k} and {settings.negatives * k}" for k, said in short.items() if said}


def _short(task: Task, role: str, positives: int, negatives: int, difficult: bool = False) -> str:
    """Which classes have fewer images of either kind, with their numbers; empty where none has.

    difficult: whether images on which a class is only difficult count as its negatives.
    """
    split = task.splits[role]
    numbers = _counts(task, role, difficult)
    few = np.flatnonzero((numbers < (positives, negatives)).any(1)).tolist()
    said = [f"'{split.classes[q]}' ({numbers[q, 0]} positive, {numbers[q, 1]} negative)" for q in few[:5]]
    more = f" and {len(few) - 5} more classes" if len(few) > 5 else ""
    return f"{split.name} has too few images of {', '.join(said)}{more}" if few else ""


def _counts(task: Task, role: str, difficult: bool) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """(classes, 2) positive and negative images."""
    y = task.splits[role].labels
    assert y is not None
    return np.stack([(y == 1).sum(0), ((y != 1) if difficult else (y == 0)).sum(0)], axis=1)
