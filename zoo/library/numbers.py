"""`zoo.kmeans` and `zoo.linear_svm`: the solvers, on arrays of the caller's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.protocols.voc_svm.protocol import COSTS
from benchmarks.solvers import voc_svm
from pretrain.base.faults import Fault
from pretrain.cluster import kmeans as solver
from pretrain.cluster.kmeans import Clusters, Metric

Array = Tensor | npt.ArrayLike  # a tensor, an array, nested lists


class LinearSvm(NamedTuple):
    """average_precision: (C,) fractions; cost: (C,) the chosen ones; held_out: (C, costs) mean AP over the
    folds, which chose them. All float64 arrays.
    """

    average_precision: npt.NDArray[np.float64]
    cost: npt.NDArray[np.float64]
    held_out: npt.NDArray[np.float64]


def kmeans(
    x: Array,
    k: int,
    *,
    metric: Metric = "l2",
    iterations: int = 20,
    seed: int = 0,
    empty: Literal["keep", "split"] = "split",
    start: Array | None = None,
) -> Clusters:
    """K clusters of the rows of x (N, D) by Lloyd's algorithm, on the device of x.

    metric: l2, or cosine, for which rows should have unit length; start: (K, D), by default K rows drawn by
    the seed; empty: whether a cluster without rows is moved beside a populous one. Returns centroids (K, D),
    labels (N,), counts (K,) and the objective after every step; see `pretrain.cluster.kmeans`.

    Raises:
        Fault: bad-config for another shape or k, nan for values that are not finite.
    """
    rows = _matrix(x, "x")
    first = None if start is None else _matrix(start, "start").to(rows.device)
    if iterations < 0:
        raise Fault("bad-config", f"kmeans: iterations: expected 0 or more, got {iterations}")
    try:
        return solver.kmeans(rows, k, iterations, metric, seed, start=first, empty=empty)
    except ValueError as error:
        raise Fault("bad-config", f"kmeans: {error}") from None


def linear_svm(
    features: Array,
    targets: Array,
    *,
    costs: Sequence[float] = COSTS,
    folds: int | Sequence[int] | npt.NDArray[np.integer[Any]] = 3,
    rows: Array | None = None,
    device: str | torch.device = "cpu",
) -> LinearSvm:
    """The linear SVM of VOC07's protocol for every class, its cost chosen by cross-validation.

    features: (N, D); targets: (N, C), or (N,) of one class: 1 present, 0 absent, -1 neither, which counts as
    absent in training and in the folds, and is left out of AP on other rows. folds: how many (stratified,
    unshuffled), or of each training row its own, numbered from 0. rows: the training rows, as numbers or as
    (N,) booleans; AP (all-point interpolated) is that of the others. Without rows all train, and AP is the
    mean over the folds, each scored by those who had not seen it, at the cost that is best there.

    Raises:
        Fault: bad-config for shapes that do not fit, other targets, costs or folds, and classes with too
            few rows; nan for features that are not finite.
    """
    x, y = _matrix(features, "features"), _targets(targets)
    if len(y) != len(x):
        raise _wrong("targets", f"as many rows as features ({len(x)})", str(len(y)))
    train, test = _parts(rows, len(x))
    grid = _costs(costs)
    given = folds if isinstance(folds, int) else _folds(folds, int(train.sum()))
    if isinstance(given, int) and given < 2:
        raise _wrong("folds", "2 or more", str(given))
    if not bool(x.isfinite().all()):
        raise Fault(
            "nan", "linear_svm: features: expected finite numbers, got NaN or infinity; check the model"
        )
    try:
        found = voc_svm.full_svm(x[train], y[train], x[test], y[test], grid, given, device)
    except (ValueError, RuntimeError) as error:
        raise Fault("bad-config", f"linear_svm: {error}") from None
    held_out = found.held_out.numpy().astype(np.float64)
    ap = found.average_precision.numpy() if rows is not None else held_out.max(axis=1)
    return LinearSvm(ap.astype(np.float64), np.array(found.cost), held_out)


def _matrix(x: Array, name: str) -> Tensor:
    """(N, D) float32."""
    found = _tensor(x, name)
    if found.ndim != 2 or 0 in found.shape:
        raise Fault("bad-config", f"{name}: expected a matrix (rows, columns), got {tuple(found.shape)}")
    return found if found.is_floating_point() else found.float()


def _tensor(x: Array, name: str) -> Tensor:
    try:
        return x.detach() if isinstance(x, Tensor) else torch.as_tensor(np.asarray(x))
    except (ValueError, TypeError) as error:
        raise Fault("bad-config", f"{name}: expected an array of numbers ({error})") from None


def _targets(targets: Array) -> Tensor:
    """(N, C) int64 in {-1, 0, 1}."""
    found = _tensor(targets, "targets").cpu()
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or 0 in found.shape:
        raise _wrong("targets", "a matrix (rows, classes)", str(tuple(found.shape)))
    whole = found.to(torch.int64)
    other = whole[(whole.abs() > 1) | (whole != found)]
    if len(other):
        values = sorted(set(found[(whole.abs() > 1) | (whole != found)].tolist()))[:5]
        raise _wrong(
            "targets", "1 present, 0 absent, -1 neither", f"{', '.join(map(str, values))}; one column a class"
        )
    signs = ((whole == -1).any(0) & (whole != 0).all(0)).nonzero().flatten().tolist()
    if signs:
        said = "-1 marks rows that are neither, and they are not scored; write absent as 0"
        raise _wrong("targets", "some 0 in every class", f"only -1 and 1 in columns {signs[:5]}; {said}")
    return whole


def _parts(rows: Array | None, n: int) -> tuple[Tensor, Tensor]:
    """(N,) booleans: who trains, and who is scored."""
    if rows is None:
        return torch.ones(n, dtype=torch.bool), torch.ones(n, dtype=torch.bool)
    given = _tensor(rows, "rows").cpu()
    if given.dtype == torch.bool:
        if given.shape != (n,):
            raise _wrong("rows", f"{n} booleans", str(tuple(given.shape)))
        return given, ~given
    whole = given.to(torch.int64)
    if given.ndim != 1 or bool((whole != given).any()) or not bool(((whole >= 0) & (whole < n)).all()):
        raise _wrong("rows", f"row numbers from 0 to {n - 1}", "others")
    train = torch.zeros(n, dtype=torch.bool)
    train[whole] = True
    if int(train.sum()) < len(whole):
        raise _wrong("rows", "each row once", f"{len(whole) - int(train.sum())} again")
    return train, ~train


def _costs(costs: Sequence[float]) -> tuple[float, ...]:
    grid = tuple(float(cost) for cost in costs)
    if not grid or len(set(grid)) < len(grid) or not all(0 < cost < float("inf") for cost in grid):
        raise _wrong("costs", "positive numbers, each once", str(list(grid)[:10]))
    return grid


def _folds(folds: Any, n: int) -> npt.NDArray[np.int64]:
    found = np.asarray(folds)
    if found.shape != (n,):
        raise _wrong("folds", f"the fold of each of the {n} training rows", f"{found.shape}")
    numbers = sorted(set(found.tolist()))
    if numbers != list(range(len(numbers))) or len(numbers) < 2:
        raise _wrong("folds", "numbers 0, 1, ... of at least two folds", f"{numbers[:10]}")
    return found.astype(np.int64)


def _wrong(name: str, expected: str, got: str) -> Fault:
    return Fault("bad-config", f"linear_svm: {name}: expected {expected}, got {got}")
