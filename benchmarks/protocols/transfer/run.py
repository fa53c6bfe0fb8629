"""VISSL's seven heads on one frozen backbone, and the best of them."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.contract.score import Score, Selection, best
from benchmarks.contract.task import Outcome, Task
from benchmarks.protocols.transfer.protocol import BARE, FIXED, MAPS, TransferSettings
from benchmarks.solvers.classes import require_classes
from benchmarks.solvers.heads import Course, train
from benchmarks.solvers.training import Head


def run(task: Task) -> Outcome:
    """Top-1 and top-5 of the best layer and of every layer; frozen backbone. Raises Fault (nan) where all
    heads diverge.
    """
    require_classes(task, "train")
    trained = train(task, heads(task.protocol.settings))
    return outcome(trained.courses, trained.lost, len(task.splits["val"]))


def heads(given: TransferSettings) -> list[Head]:
    """Six heads behind a batch norm with scale and shift, and one without; drawn as torch draws."""
    pooled = [Head(name, given.solver, at, norm="affine", std=None) for at, name in enumerate(MAPS)]
    return [
        *pooled,
        Head(FIXED, given.solver, 4, pool="average", norm="affine", std=None),
        Head(BARE, given.solver, 4, pool="average", std=None),
    ]


def outcome(courses: Mapping[str, Course], lost: Mapping[str, str], n: int) -> Outcome:
    """The layer with the best top-1 at the last epoch, beside it the fixed layer; then every layer.

    courses: of the heads that have numbers; lost: why the others have none; n: images of val.
    """
    last = {
        part: {name: list(getattr(course, part).values())[-1] for name, course in courses.items()}
        for part in Course._fields
    }
    layer = best(last["top1"])
    scores = []
    for part, among in last.items():
        twin = f"{FIXED}_{part}" if FIXED in among else ""
        chosen = Selection("layer", layer, "val", among)
        scores.append(Score(part, among[layer], n, "val", selection=chosen, honest=twin))
    scores += [
        Score(f"{name}_{part}", value, n, "val")
        for part, among in last.items()
        for name, value in among.items()
    ]
    missing = {f"{name}_{part}": why for name, why in lost.items() for part in last}
    return Outcome(scores, {}, missing)
