"""The grid of fine-tunings: every point trained and kept, the
best reported, and the honestly chosen one beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from benchmarks import cache, turns
from benchmarks.contract.score import Score, Selection, best
from benchmarks.contract.task import Outcome, Task
from benchmarks.protocols.semi_supervised.tuning import Accuracy, Ids, Setting, Trial, finetune
from benchmarks.solvers.classes import require_classes
from pretrain.base import dist
from pretrain.base.faults import Fault

TOPS = ("top1", "top5")


def run(task: Task) -> Outcome:
    """Top-1 and top-5 of the best setting, and of the honestly chosen one where it was asked for."""
    require_classes(task, "train")
    with reproducible() as cudnn:
        found, diverged = _tried(task, grid(task))
    if not found["val"]:
        said = f"the loss of all {len(points(task))} settings diverged; lower 'lrs'"
        raise Fault("nan", f"{task.protocol.name}: {said}")
    done = outcome(found, len(points(task)), len(task.splits["val"]), _not_honest(task))
    return done._replace(facts={"diverged": diverged, "cudnn": cudnn, **done.facts})


@contextmanager
def reproducible() -> Iterator[dict[str, bool]]:
    """cuDNN's deterministic algorithms, none picked by timing, as the reference pages demand; gives what is
    set, and puts back what was.
    """
    cudnn: Any = torch.backends.cudnn
    kept = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield {"deterministic": cudnn.deterministic, "benchmark": cudnn.benchmark}
    finally:
        cudnn.deterministic, cudnn.benchmark = kept


def _tried(task: Task, trials: list[Trial]) -> tuple[dict[str, dict[str, Accuracy]], list[str]]:
    """Accuracies of every trial by kind and name, and which ones diverged."""
    found: dict[str, dict[str, Accuracy]] = {"val": {}, "held-out": {}}
    diverged, done = [], 0
    for kind in found:
        same = [trial for trial in trials if trial.kind == kind]
        for trial, accuracy in zip(same, _remembered(task, same, done, len(trials)), strict=True):
            name, done = trial.setting.name, done + 1
            if accuracy is None:
                diverged.append(f"{name} {kind}")
            else:
                found[kind][name] = accuracy
            said = f"{accuracy[0]:.1f} %" if accuracy else "diverged"
            task.report(done, len(trials), f"{name} {kind} {said}")
    return found, diverged


def _remembered(task: Task, trials: list[Trial], done: int, total: int) -> list[Accuracy | None]:
    """The accuracies of points of the grid, from their files where they were finished before; None where one
    diverged. Processes share out those that are left, and of what a process has, all train together.

    done, total: trials that were finished before these, and of the whole grid.
    """
    files = [trial.file(task.work, ".json") for trial in trials]
    known = dist.gather_object([cache.recalled(path) for path in files])[0]
    left = [trial for trial, one in zip(trials, known, strict=True) if one is None]

    def said(line: str) -> None:
        task.report(done, total, line)

    found = iter(turns.shared_out(left, lambda mine: finetune(task, mine, said)))
    return [next(found) if one is None else one.values and (*one.values,) for one in known]


def points(task: Task) -> list[Setting]:
    """The settings that are tried: the grid, or the one of backbones with a Sobel front-end."""
    settings = task.protocol.settings
    if task.backbone.input.sobel and settings.sobel is not None:
        return [Setting(*settings.sobel)]
    return [Setting(lr, m) for m, lr in itertools.product(settings.head_multipliers, settings.lrs)]


def grid(task: Task) -> list[Trial]:
    """Every setting on all labelled images, and on four fifths of them where the honest choice is asked for
    and there is something to choose.
    """
    settings, train, val = task.protocol.settings, task.splits["train"], task.splits["val"]
    assert train.labels is not None
    fit, held = hold_out(train.labels, settings.held_out)
    trials = [
        Trial(point, "val", np.arange(len(train)), "val", np.arange(len(val))) for point in points(task)
    ]
    if not _not_honest(task) and len(points(task)) > 1:
        trials += [Trial(point, "held-out", fit, "train", held) for point in points(task)]
    return trials


def _not_honest(task: Task) -> str:
    """Why no setting can be chosen on held-out training images; empty where one can."""
    settings, train = task.protocol.settings, task.splits["train"]
    assert train.labels is not None
    if not settings.honest:
        return f"not asked for, as it doubles the cost; {task.protocol.name}.honest=true computes it"
    if not len(hold_out(train.labels, settings.held_out)[1]):
        return f"{train.name} has one image of each class, so none can be held out; choose on more labels"
    return ""


def hold_out(labels: Ids, every: int) -> tuple[Ids, Ids]:
    """Ids to fit on and to hold out: each `every`-th image of a class, so classes with fewer lose none."""
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members))
    held = rank % every == every - 1
    if not held.any():  # a handful per class: hold out the last of each class that has at least two
        sizes = np.bincount(labels)[labels]
        held = (rank == sizes - 1) & (sizes > 1)
    return np.flatnonzero(~held), np.flatnonzero(held)


def outcome(found: dict[str, dict[str, Accuracy]], tried: int, n: int, why: str) -> Outcome:
    """Scores of the best point of the grid by val, and of the best by held-out training images.

    found: kind (val, held-out) -> name of a setting -> accuracies; tried: how many settings there are, of one
    nothing is chosen; why: there are no held-out images, empty where there are.
    """
    tops, held = found["val"], found["held-out"]
    chosen = best({name: top1 for name, (top1, _) in tops.items()})
    if tried == 1:
        note = f"{chosen}, the only setting"
        return Outcome(_scores(tops, chosen, n, "", note=note), {"setting": chosen})
    honest = best({name: top1 for name, (top1, _) in held.items()}) if held else ""
    why = why or ("" if held else "every setting diverged on the training images that were not held out")
    if honest and honest not in tops:
        why = f"{honest}, chosen on held-out training images, diverged on all training images; lower 'lrs'"
    missing = {f"{name}_honest": why for name in TOPS} if why else {}
    scores = _scores(tops, chosen, n, "val", twin=not why)
    if not why:
        scores += _scores(tops, honest, n, "held-out training images", suffix="_honest")
    return Outcome(scores, {"setting": chosen}, missing)


def _scores(
    tops: dict[str, Accuracy],
    choice: str,
    n: int,
    on: str,
    *,
    suffix: str = "",
    twin: bool = False,
    note: str = "",
) -> list[Score]:
    """Top-1 and top-5 of a setting among all; on: what chose it, empty where there was nothing to choose."""
    scores = []
    for i, name in enumerate(TOPS):
        among = {point: accuracy[i] for point, accuracy in tops.items()}
        selection = Selection("setting", choice, on, among) if on else None
        honest = f"{name}_honest" if twin else ""
        scores.append(
            Score(f"{name}{suffix}", among[choice], n, "val", selection=selection, honest=honest, note=note)
        )
    return scores
