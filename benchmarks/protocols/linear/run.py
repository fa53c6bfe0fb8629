"""Feature1-5 and two AvgPool heads on one frozen backbone; what is reported of each."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.contract.score import Score, Selection, best
from benchmarks.contract.task import Outcome, Task
from benchmarks.protocols.linear.protocol import AVERAGES, FEATURES, LinearSettings
from benchmarks.solvers.classes import require_classes
from benchmarks.solvers.heads import Course, train
from benchmarks.solvers.training import Head


def run(task: Task) -> Outcome:
    """Top-1 and top-5 of seven heads; frozen backbone. Raises Fault (nan) where all of them diverge."""
    require_classes(task, "train")
    trained = train(task, heads(task.protocol.settings))
    return outcome(trained.courses, trained.lost, len(task.splits["val"]))


def heads(given: LinearSettings) -> list[Head]:
    """Feature1-5 on pooled maps behind batch norm; two AvgPools on the average of the last map."""
    features = [Head(name, given.features, at, norm="plain") for at, name in enumerate(FEATURES)]
    solvers = (given.average, given.average_swav)
    return features + [
        Head(name, solver, 4, view="last", pool="average")
        for name, solver in zip(AVERAGES, solvers, strict=True)
    ]


def outcome(courses: Mapping[str, Course], lost: Mapping[str, str], n: int) -> Outcome:
    """Feature1-5 at their last epoch, AvgPool at its best, as published; the other choice of each beside it.

    courses: of the heads that have numbers; lost: why the others have none; n: images of val.
    """
    scores = []
    for name, course in courses.items():
        scores += _best_epoch(name, course, n) if name in AVERAGES else _last_epoch(name, course, n)
    missing = {
        f"{name}_{part}": why
        for name, why in lost.items()
        for part in ("top1", "top5", "top1_last" if name in AVERAGES else "top1_best")
    }
    return Outcome(scores, {}, missing)


def _best_epoch(name: str, course: Course, n: int) -> list[Score]:
    last, top = list(course.top1)[-1], best(course.top1)
    chosen, beside = (Selection("epoch", top, "val", among) for among in (course.top1, course.top5))
    twin = f"{name}_top1_last"
    return [
        Score(f"{name}_top1", course.top1[top], n, "val", selection=chosen, honest=twin),
        Score(f"{name}_top5", course.top5[top], n, "val", selection=beside),
        Score(twin, course.top1[last], n, "val"),
    ]


def _last_epoch(name: str, course: Course, n: int) -> list[Score]:
    last, top = list(course.top1)[-1], best(course.top1)
    chosen, twin = Selection("epoch", top, "val", course.top1), f"{name}_top1"
    return [
        Score(twin, course.top1[last], n, "val"),
        Score(f"{name}_top5", course.top5[last], n, "val"),
        Score(f"{name}_top1_best", course.top1[top], n, "val", selection=chosen, honest=twin),
    ]
