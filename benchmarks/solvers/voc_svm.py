"""The two linear-SVM evaluations of frozen features on VOC07: the full training set, and k images per class.

Both follow Goyal et al., "Scaling and Benchmarking Self-Supervised Visual Representation Learning" (2019),
and its released code: LinearSVC with the squared hinge, a regularised intercept and class weights 2
(positive) : 1 (negative). Labels are 1 (present), 0 (absent) and -1 (only objects marked difficult). Features
are x / (|x|_2 + 1e-5) in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from benchmarks.solvers.average_precision import average_precision, voc_ap
from benchmarks.solvers.svm import fit, rotate

POSITIVE_WEIGHT = 2.0


@dataclass(frozen=True)
class FullSvm:
    """Result on the full training set; fractions, on the CPU.

    average_precision: [q] test AP of every class at its own cost. cost: the cost of every class.
    held_out: [q, costs] mean AP over the cross-validation folds, which chose it.
    """

    average_precision: Tensor
    cost: tuple[float, ...]
    held_out: Tensor


@dataclass(frozen=True)
class Draws:
    """Test mAP at one cost over the independent draws of the training rows; fractions, std with ddof 0."""

    cost: float
    mean: float
    minimum: float
    maximum: float
    std: float


@dataclass(frozen=True)
class LowShot:
    """Result at k positive rows per class; fractions, on the CPU.

    test, held_out: [samples, costs] mAP on the test rows, and on the training rows that were not drawn.
    chosen_on_test: at the cost with the highest mean of `test`, which is how published numbers are made.
    chosen_on_held_out: at the cost with the highest mean of `held_out`, so the test labels only report.
    """

    k: int
    test: Tensor
    held_out: Tensor
    chosen_on_test: Draws
    chosen_on_held_out: Draws


def full_svm(
    train_x: Tensor,
    train_label: Tensor,
    test_x: Tensor,
    test_label: Tensor,
    costs: Sequence[float],
    folds: int = 3,
    device: torch.device | str = "cpu",
) -> FullSvm:
    """Test AP per class with the cost that cross-validation on the training rows chose for that class.

    train_x: [n, d] float32; test_x: [m, d]; train_label: [n, q], test_label: [m, q] in {1, 0, -1}. In
    training and cross-validation -1 counts as a negative; at test the rows with -1 are dropped for that
    class. Folds are stratified and unshuffled and scored with scikit-learn's AP; the test score is the
    all-point interpolated AP. Raises: ValueError where a feature is not finite, a class has too few positive
    or negative training rows for the folds, or no positive test row; RuntimeError where a problem is not
    solved.
    """
    x, t = _normalised(train_x, device), _normalised(test_x, device)
    positive, truth = train_label.to(device) == 1, test_label.to(device)
    _require_positives(truth)
    z, n, q = rotate(x), *positive.shape
    fold = np.stack([stratified_folds(column, folds) for column in positive.T.cpu().numpy()], axis=1)
    # One problem per class, fold and cost; fold number `folds` holds no row out: the refit on all of them.
    kept = torch.from_numpy(fold).to(device)[..., None] != torch.arange(folds + 1, device=device)
    c = (_class_weight(positive)[..., None] * kept)[..., None] * z.new_tensor(costs)
    y = _sign(positive)[..., None, None].expand_as(c)
    beta = fit(z, y.reshape(n, -1), c.reshape(n, -1)).view_as(c)
    trial = beta[:, :, :folds]
    held_out = average_precision(
        z @ (z.T @ trial.reshape(n, -1)),
        positive[..., None, None].expand_as(trial).reshape(n, -1),
        ~kept[:, :, :folds, None].expand_as(trial).reshape(n, -1),
    )
    validation = held_out.view(q, folds, len(costs)).mean(dim=1).cpu()
    best = _first_best(validation)
    refit = beta[:, torch.arange(q, device=device), folds, torch.tensor(best, device=device)]
    ap = voc_ap(t @ (x.T @ refit), truth == 1, truth != -1)
    return FullSvm(ap.cpu(), tuple(costs[i] for i in best), validation)


def low_shot_svm(
    train_x: Tensor,
    train_label: Tensor,
    test_x: Tensor,
    test_label: Tensor,
    costs: Sequence[float],
    ks: Sequence[int],
    samples: int = 5,
    seed: int = 0,
    device: torch.device | str = "cpu",
    negatives: int = 19,
) -> list[LowShot]:
    """Test mAP with k positive and 19k negative training rows per class, for every k: one `LowShot` each.

    Arrays as in `full_svm`; negatives: per positive row, 19 in the published protocol. Each class is drawn on
    its own, `samples` times (see `draw_rows`); rows with -1 are never drawn, and are dropped wherever a class
    is scored. One cost serves all classes and draws of a k. It is chosen twice: on the test rows, as in the
    released code, and on the training rows that were not drawn, for which a class counts if a positive row of
    it is left. Both use the all-point interpolated AP. The second choice sees more labels than the k images,
    but none of the test set. Raises: ValueError where a feature is not finite, a class has too few rows of
    either label or no positive test row, or every positive row of every class is drawn; RuntimeError where a
    problem is not solved.
    """
    x, t = _normalised(train_x, device), _normalised(test_x, device)
    label, truth = train_label.to(device), test_label.to(device)
    _require_positives(truth)
    z, cross, q = rotate(x), t @ x.T, label.shape[1]
    results = []
    for k in ks:
        test, held_out = [], []
        for sample in range(samples):
            rows = torch.from_numpy(draw_rows(train_label.cpu().numpy(), k, sample, seed, negatives)).to(
                device
            )
            beta = _fit_drawn(z, rows, k, costs).flatten(1)
            drawn = torch.zeros_like(label, dtype=torch.bool)
            drawn[rows.T, torch.arange(q, device=device)] = True
            test.append(_mean_ap(cross @ beta, truth))
            held_out.append(_mean_ap(z @ (z.T @ beta), torch.where(drawn, -1, label)))
        results.append(_low_shot(k, torch.stack(test).cpu(), torch.stack(held_out).cpu(), costs))
    return results


def stratified_folds(positive: NDArray[np.bool_], folds: int = 3) -> NDArray[np.int64]:
    """[n] the fold every row is held out in: scikit-learn's StratifiedKFold without shuffling.

    positive: [n] bool. Raises: ValueError where there are fewer positives or negatives than folds.
    """
    fewest = min(int(positive.sum()), int((~positive).sum()))
    if fewest < folds:
        raise ValueError(
            f"SVM cross-validation: a class has {int(positive.sum())} positive and {int((~positive).sum())} negative "
            f"training rows, {folds} folds need at least {folds} of each; leave the class out or use fewer folds"
        )
    fold = np.empty(len(positive), dtype=np.int64)
    for number, (_, held_out) in enumerate(StratifiedKFold(folds).split(positive, positive)):
        fold[held_out] = number
    return fold


def draw_rows(
    label: NDArray[np.integer], k: int, sample: int, seed: int, negatives: int = 19
) -> NDArray[np.int64]:
    """[q, k + negatives k] training rows of every class: k random ones with label 1, then the rest with label
    0.

    A draw depends on the arguments and the class alone, not on which other draws are asked for. label: [n,
    q]. Raises: ValueError where a class has too few rows of either label.
    """
    drawn = []
    for number, column in enumerate(label.T):
        rng = np.random.default_rng((seed, k, sample, number))
        present, absent = np.flatnonzero(column == 1), np.flatnonzero(column == 0)
        if len(present) < k or len(absent) < negatives * k:
            raise ValueError(
                f"low-shot SVM: class {number} at k={k} needs {k} training rows with label 1 and "
                f"{negatives * k} with label 0, it has {len(present)} and {len(absent)}; leave out this k"
            )
        negative = rng.choice(absent, negatives * k, replace=False)
        drawn.append(np.concatenate([rng.choice(present, k, replace=False), negative]))
    return np.stack(drawn)


def _fit_drawn(z: Tensor, rows: Tensor, k: int, costs: Sequence[float]) -> Tensor:
    """[n, q, costs] dual coefficients of one problem per class
    and cost; rows: [q, m], the k positives first.
    """
    (n, q), count = (len(z), len(rows)), rows.shape[1]
    positive = torch.arange(count, device=z.device) < k
    weight = _class_weight(positive)[:, None] * z.new_tensor(costs)
    column = torch.arange(q, device=z.device)
    beta = z.new_zeros(n, q, len(costs))
    if 3 * count <= n:  # below this a small system per class beats one large system shared by all classes
        y = _sign(positive)[:, None].expand_as(weight)
        own = fit(rotate(z[rows]), y.expand(q, -1, -1), weight.expand(q, -1, -1))
        beta[rows.T, column] = own.transpose(0, 1)
        return beta
    y, c = torch.full_like(beta, -1.0), torch.zeros_like(beta)
    y[rows.T, column] = _sign(positive)[:, None, None]
    c[rows.T, column] = weight[:, None]
    return fit(z, y.flatten(1), c.flatten(1)).view_as(beta)


def _mean_ap(scores: Tensor, label: Tensor) -> Tensor:
    """[costs] mean of the classes' AP; scores: [n, q *
    costs]; label: [n, q], -1 where a row does not count.
    """
    n, q = label.shape
    known = (label == 1).any(dim=0)
    if not known.any():
        raise ValueError(
            "low-shot SVM: no class has a positive row left to choose the cost on; leave out this k"
        )
    scores, label = scores.view(n, q, -1)[:, known], label[:, known, None]
    wide = label.expand_as(scores).flatten(1)
    return voc_ap(scores.flatten(1), wide == 1, wide != -1).view(scores.shape[1:]).mean(dim=0)


def _low_shot(k: int, test: Tensor, held_out: Tensor, costs: Sequence[float]) -> LowShot:
    def spread(best: int) -> Draws:
        at = test[:, best]
        summary = (at.mean(), at.min(), at.max(), at.std(correction=0))
        return Draws(costs[best], *(float(value) for value in summary))

    on_test, on_held_out = (_first_best(mean_ap.mean(dim=0)[None])[0] for mean_ap in (test, held_out))
    return LowShot(k, test, held_out, spread(on_test), spread(on_held_out))


def _first_best(value: Tensor) -> list[int]:
    """Index of the first maximum of every row; numpy promises the first of equals, torch does not."""
    return [int(i) for i in value.numpy().argmax(axis=1)]


def _normalised(x: Tensor, device: torch.device | str) -> Tensor:
    """[n, d + 1] float64: x / (|x|_2 + 1e-5), then a column of ones for the intercept."""
    wide = x.to(device, torch.float64)
    broken = (~wide.isfinite().all(dim=1)).nonzero().flatten()
    if len(broken):
        raise ValueError(
            f"SVM features: {len(broken)} of {len(wide)} rows hold NaN or infinity, the first is row {int(broken[0])}; "
            "check the backbone's weights"
        )
    wide = wide / (wide.norm(dim=1, keepdim=True) + 1e-5)
    return torch.cat([wide, torch.ones_like(wide[:, :1])], dim=1)


def _sign(positive: Tensor) -> Tensor:
    return positive.double() * 2 - 1


def _class_weight(positive: Tensor) -> Tensor:
    return torch.where(positive, POSITIVE_WEIGHT, 1.0).double()


def _require_positives(label: Tensor) -> None:
    missing = (~(label == 1).any(dim=0)).nonzero().flatten().tolist()
    if missing:
        raise ValueError(f"SVM: classes {missing} have no test row with label 1; leave them out")
