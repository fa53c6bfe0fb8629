"""The two SVM evaluations on VOC07: features of five layers, the full SVM of each, low-shot on the best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import features
from benchmarks.contract.score import Score, Selection, Spread, best
from benchmarks.contract.task import Outcome, Task
from benchmarks.solvers.voc_svm import full_svm, low_shot_svm
from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.base.identity import digest
from pretrain.base.settings import plain
from pretrain.data.view import View
from pretrain.nets.checkpoint import describe

LAYERS = ("feature1", "feature2", "feature3", "feature4", "feature5")


def run(task: Task) -> Outcome:
    """mAP of every layer on the test split; the best layer's is the table's number."""
    per_class = full(task)
    means = {layer: float(np.mean(ap)) for layer, ap in per_class.items()}
    chosen, n = best(means), len(task.splits["test"])
    selection = Selection("layer", chosen, "test", means)
    scores = [Score("mAP", means[chosen], n, "test", selection=selection)]
    scores += [Score(f"{layer}_mAP", value, n, "test") for layer, value in means.items()]
    classes = task.splits["test"].classes
    return Outcome(scores, {"per_class": dict(zip(classes, per_class[chosen], strict=True))})


def run_low_shot(task: Task) -> Outcome:
    """Mean test mAP over the draws for every k, on the best layer of the full SVM."""
    settings = task.protocol.settings
    layer = best({layer: float(np.mean(ap)) for layer, ap in full(task).items()})
    at, view = LAYERS.index(layer), _view(task)
    train, test = (features.pooled(task, role, view, settings.pooled)[at] for role in ("train", "test"))
    shots = _checked(
        low_shot_svm,
        *_arrays(task, train, test),
        settings.costs,
        settings.ks,
        settings.samples,
        seed=task.seed,
        negatives=settings.negatives,
        device=task.device,
    )
    n, scores = len(task.splits["test"]), []
    for shot in shots:
        means = {
            f"C={cost:.3g}": 100 * float(m) for cost, m in zip(settings.costs, shot.test.mean(0), strict=True)
        }
        for name, kept, on in (
            (f"k{shot.k}", shot.chosen_on_test, "test"),
            (f"k{shot.k}_honest", shot.chosen_on_held_out, "training images not drawn"),
        ):
            draws = (100 * shot.test[:, settings.costs.index(kept.cost)]).tolist()
            selection = Selection("cost", f"C={kept.cost:.3g}", on, means)
            honest = f"{name}_honest" if on == "test" else ""
            spread = Spread.of("draws", draws)
            scores.append(
                Score(name, 100 * kept.mean, n, "test", spread=spread, selection=selection, honest=honest)
            )
    return Outcome(scores, {"layer": layer})


def full(task: Task) -> dict[str, list[float]]:
    """Test AP per class (percent) of every layer; kept on disk, because low-shot asks for the same."""
    settings, path = task.protocol.settings, _kept(task)
    if path.exists():
        return dict(json.loads(path.read_text()))
    layers = [features.pooled(task, role, _view(task), settings.pooled) for role in ("train", "test")]
    found = {}
    for done, (layer, train, test) in enumerate(zip(LAYERS, *layers, strict=True), start=1):
        svm = _checked(
            full_svm, *_arrays(task, train, test), settings.costs, settings.folds, device=task.device
        )
        found[layer] = (100 * svm.average_precision).tolist()
        task.report(done, len(LAYERS), f"{layer} mAP {float(np.mean(found[layer])):.2f}")
    files.write_text(path, json.dumps(found))
    return found


def _kept(task: Task) -> Path:
    """Where the full SVM of these weights, data and settings is kept."""
    settings = task.protocol.settings
    grid = plain((settings.costs, settings.folds, settings.pooled, settings.side))
    weights = describe(task.checkpoint).identity()
    return task.cache / f"svm-{digest([weights, dict(task.fingerprints), grid, task.protocol.version])}.json"


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
    """The solver's answer; what it says about too few images becomes a fault of the data."""
    try:
        return solve(*arguments, **options)
    except ValueError as error:
        raise Fault("bad-config", str(error)) from error
