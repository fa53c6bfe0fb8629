"""The two SVM evaluations on VOC07: features of five layers, the full SVM of each, low-shot on the best."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import cache, features, turns
from benchmarks.contract.score import Score, Selection, Spread, best
from benchmarks.contract.task import Outcome, Task
from benchmarks.protocols.voc_svm.counts import require_folds, undrawable
from benchmarks.shelf import Array
from benchmarks.solvers.svm import UnsolvedError
from benchmarks.solvers.voc_svm import Draws, LowShot, full_svm, low_shot_svm
from pretrain.base.faults import Fault
from pretrain.base.settings import plain
from pretrain.data.view import View

LAYERS = ("feature1", "feature2", "feature3", "feature4", "feature5")
TRAINING = "cross-validation on the training images"
LEFT = "training images not drawn"


class Layer(NamedTuple):
    """The full SVM of a layer, in percent. per_class: test AP; trained: mean over the classes of the AP that
    cross-validation on the training images gave the chosen cost.
    """

    per_class: list[float]
    trained: float

    @property
    def mean(self) -> float:
        """mAP on the test split."""
        return float(np.mean(self.per_class))


def run(task: Task) -> Outcome:
    """mAP of every layer on the test split; the best layer's is the table's number, and beside it stands that
    of the layer which cross-validation on the training split prefers.
    """
    layers = full(task)
    means, n = {name: layer.mean for name, layer in layers.items()}, len(task.splits["test"])
    published, honest = chosen(layers)
    scores = [
        Score(
            "mAP", means[published], n, "test", selection=_by("test", published, means), honest="mAP_honest"
        ),
        Score("mAP_honest", means[honest], n, "test", selection=_by(TRAINING, honest, means)),
        *(Score(f"{name}_mAP", mean, n, "test") for name, mean in means.items()),
    ]
    classes = task.splits["test"].classes
    facts = {
        "per_class": dict(zip(classes, layers[published].per_class, strict=True)),
        "cross_validated": {name: layer.trained for name, layer in layers.items()},
    }
    return Outcome(scores, facts)


def chosen(layers: Mapping[str, Layer]) -> tuple[str, str]:
    """The layer with the best test mAP, as published, and the one with the best cross-validated AP."""
    by_test = best({name: layer.mean for name, layer in layers.items()})
    return by_test, best({name: layer.trained for name, layer in layers.items()})


def _by(split: str, layer: str, means: dict[str, float]) -> Selection:
    return Selection("layer", layer, split, means)


def run_low_shot(task: Task) -> Outcome:
    """Mean test mAP over the draws for every k: on the best layer of the full SVM; the honest value is that
    of the layer which cross-validation prefers, too.
    """
    missing = {name: why for k, why in undrawable(task).items() for name in (f"k{k}", f"k{k}_honest")}
    ks = [k for k in task.protocol.settings.ks if f"k{k}" not in missing]
    if not ks:
        return Outcome([], {}, missing)
    published, honest = chosen(full(task))
    shots = {layer: _shots(task, layer, ks) for layer in dict.fromkeys((published, honest))}
    scores = []
    for shot, twin in zip(shots[published], shots[honest], strict=True):
        name = f"k{shot.k}"
        if twin.chosen_on_held_out is None:
            scores.append(_score(task, name, published, shot, shot.chosen_on_test, "test"))
            said = f"a draw of k={shot.k} takes every positive image of every class, none is left to choose the cost on"
            missing[f"{name}_honest"] = said
        else:
            twins = f"{name}_honest"
            scores.append(_score(task, name, published, shot, shot.chosen_on_test, "test", twins))
            scores.append(_score(task, twins, honest, twin, twin.chosen_on_held_out, LEFT))
    return Outcome(scores, {"layer": published, "layer_honest": honest}, missing)


def _shots(task: Task, layer: str, ks: list[int]) -> list[LowShot]:
    """The low-shot SVMs on a layer, one result per k; several processes share out the ks."""
    settings, view = task.protocol.settings, _view(task)
    at = LAYERS.index(layer) - len(LAYERS)
    train, test = (features.pooled(task, role, view, settings.pooled)[at] for role in ("train", "test"))

    def solved(mine: list[int]) -> list[LowShot]:
        arrays, costs = _arrays(task, train, test), settings.costs
        options = {"seed": task.seed, "negatives": settings.negatives, "device": task.device}
        return list(_checked(low_shot_svm, *arrays, costs, mine, settings.samples, **options))

    return turns.shared_out(ks, solved)


def _score(
    task: Task, name: str, layer: str, shot: LowShot, draws: Draws, on: str, honest: str = ""
) -> Score:
    """The score of the draws on a layer at a cost; on: the split that chose the cost."""
    costs = task.protocol.settings.costs
    names = cost_names(costs)
    means = {cost: 100 * float(mean) for cost, mean in zip(names, shot.test.mean(0), strict=True)}
    at = costs.index(draws.cost)
    return Score(
        name,
        100 * draws.mean,
        len(task.splits["test"]),
        "test",
        spread=Spread.of("draws", (100 * shot.test[:, at]).tolist()),
        selection=Selection("cost", names[at], on, means),
        honest=honest,
        note=f"on {layer}",
    )


def cost_names(costs: Sequence[float]) -> list[str]:
    """'C=0.0625' and so on, with three digits, or as many as tell all of them apart."""
    known = ([f"C={cost:.{digits}g}" for cost in costs] for digits in range(3, 18))
    return next(names for names in known if len(set(names)) == len(costs))


def full(task: Task) -> dict[str, Layer]:
    """The full SVM of every layer; kept on disk, because low-shot asks for the same.

    Raises Fault (bad-config) naming classes that have too few images.
    """
    require_folds(task)
    settings = task.protocol.settings
    grid = plain((settings.costs, settings.folds, settings.pooled, settings.side))
    what = {"kind": "full SVM", "data": dict(task.fingerprints), "grid": grid}
    kept = cache.values(task, what, lambda: _solved(task))
    return {name: Layer(*layer) for name, layer in kept.items()}


def _solved(task: Task) -> dict[str, list[Any]]:
    """Name of a layer -> the values of its `Layer`; several processes share out the layers."""
    settings, done = task.protocol.settings, itertools.count(1)
    arrays = [features.pooled(task, role, _view(task), settings.pooled) for role in ("train", "test")]
    layers = LAYERS[-len(arrays[0]) :]  # a backbone of fewer maps gives the last of them

    def solved(name: str, train: Array, test: Array) -> list[Any]:
        data, how = _arrays(task, train, test), (settings.costs, settings.folds)
        svm = _checked(full_svm, *data, *how, device=task.device)
        layer = Layer((100 * svm.average_precision).tolist(), 100 * float(svm.held_out.amax(1).mean()))
        task.report(next(done), len(layers), f"{name} mAP {layer.mean:.2f}")
        return list(layer)

    pieces = list(zip(layers, *arrays, strict=True))
    found = turns.shared_out(pieces, lambda mine: [solved(*piece) for piece in mine])
    return dict(zip(layers, found, strict=True))


def _view(task: Task) -> View:
    """Short side to `resize`, then distorted to a square: the
    aspect ratio is not kept, nothing is cut off.
    """
    given, side = task.backbone.input, task.protocol.settings.side
    return View(size=side or given.size, geometry="warp", resize=side or given.resize, flip=0.0)


def _arrays(task: Task, train: Any, test: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    y, truth = (torch.from_numpy(task.splits[role].labels) for role in ("train", "test"))
    return torch.from_numpy(np.array(train)), y, torch.from_numpy(np.array(test)), truth


def _checked(solve: Any, *arguments: Any, **options: Any) -> Any:
    """The solver's answer; what it says about too few images or too large costs is a fault of the data."""
    try:
        return solve(*arguments, **options)
    except (ValueError, UnsolvedError) as error:
        raise Fault("bad-config", str(error)) from error
