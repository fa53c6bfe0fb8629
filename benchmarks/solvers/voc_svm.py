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
from benchmarks.solvers.svm_costs import fit_costs
from benchmarks.solvers.svm_gram import RANK, Gram, gram

POSITIVE_WEIGHT = 2.0
_GROUP_BYTES = 2**26  # of the inner products and iterates of the draws that are solved together
_SPARSE = 5  # of how many rows a draw may be one, for its scores to be computed from its own rows alone


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
    chosen_on_held_out: at the cost with the highest mean of `held_out`, so the test labels only report. Both
    are None where a draw takes every positive row of every class, so that none is left to choose on.
    """

    k: int
    test: Tensor
    held_out: Tensor | None
    chosen_on_test: Draws
    chosen_on_held_out: Draws | None


def full_svm(
    train_x: Tensor,
    train_label: Tensor,
    test_x: Tensor,
    test_label: Tensor,
    costs: Sequence[float],
    folds: int | NDArray[np.int64] = 3,
    device: torch.device | str = "cpu",
) -> FullSvm:
    """Test AP per class with the cost that cross-validation on the training rows chose for that class.

    train_x: [n, d] float32; test_x: [m, d]; train_label: [n, q], test_label: [m, q] in {1, 0, -1}. In
    training and cross-validation -1 counts as a negative; at test the rows with -1 are dropped for that
    class. Folds are stratified and unshuffled, or given: [n] numbers from 0, each row's own. They are scored
    with scikit-learn's AP; the test score is the all-point interpolated AP. Raises: ValueError where a
    feature is not finite, a class has too few positive or negative training rows for the folds, or no
    positive test row; RuntimeError where a problem is not solved.

    Memory: about 16 n^2 + 8 (n + m) d + 16 q (folds + 1) costs n + 200 q (folds + 1) n bytes.
    """
    x, positive, truth = _normalised(train_x, device), train_label.to(device) == 1, test_label.to(device)
    _require_positives(truth)
    n, q = positive.shape
    fold, folds = _folds(positive.T.cpu().numpy(), folds)
    # One problem per class, fold and cost; fold number `folds` holds no row out: the refit on all of them.
    kept = torch.from_numpy(fold).to(device)[:, None] != torch.arange(folds + 1, device=device)[:, None]
    weight = (_class_weight(positive).T[:, None] * kept).view(-1, n)
    y = _sign(positive).T[:, None].expand(-1, folds + 1, -1).reshape(-1, n)
    solved = fit_costs(gram(x), y, weight, costs)
    scores = solved.scores.view(q, folds + 1, len(costs), n)[:, :folds]
    validation = _held_out(scores, positive.T, ~kept[:, :folds])
    best = _first_best(validation)
    refit = solved.beta.view(q, folds + 1, len(costs), n)[range(q), folds, best]
    ap = voc_ap(_normalised(test_x, device) @ (x.T @ refit.T), truth == 1, truth != -1)
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
    but none of the test set. Raises: ValueError where a feature is not finite, or a class has too few rows of
    either label or no positive test row; RuntimeError where a problem is not solved.

    Memory: about 16 n^2 + 8 n m bytes, 8 (n + m) d at the start, and 64 MiB or what one class's draw takes.
    """
    x, t = _normalised(train_x, device), _normalised(test_x, device)
    label, truth = train_label.to(device), test_label.to(device)
    _require_positives(truth)
    inner, cross = gram(x), x @ t.T
    del x, t
    results = []
    for k in ks:
        draws = [
            draw_rows(train_label.cpu().numpy(), k, sample, seed, negatives) for sample in range(samples)
        ]
        rows = torch.from_numpy(np.concatenate(draws)).to(device)
        fitted = _fit_drawn(inner, rows, k, costs)
        test, held_out = [], []
        for drawn, beta in zip(rows.chunk(samples), fitted.chunk(samples), strict=True):
            test.append(_mean_ap(_scores(beta, drawn, cross), truth))
            rest = label.scatter(0, drawn.T, -1)
            if (rest == 1).any():
                held_out.append(_mean_ap(_scores(beta, drawn, inner.exact), rest))
        results.append(_low_shot(k, test, held_out, costs))
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


def _folds(positive: NDArray[np.bool_], folds: int | NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """[q, n] the fold that holds a row out, for every class, and how many there are; positive: [q, n]."""
    if isinstance(folds, int):
        return np.stack([stratified_folds(column, folds) for column in positive]), folds
    return np.broadcast_to(folds, positive.shape).copy(), int(folds.max()) + 1


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


def _held_out(scores: Tensor, positive: Tensor, held: Tensor) -> Tensor:
    """[q, costs] mean AP over the folds, on the CPU. scores: [q, folds, costs, n]; positive: [q, n]; held:
    [q, folds, n] whether the fold holds the row out.
    """
    truth = positive[:, None, None].expand(scores.shape).reshape(-1, scores.shape[-1])
    valid = held[:, :, None].expand(scores.shape).reshape(-1, scores.shape[-1])
    flat = scores.reshape(-1, scores.shape[-1])
    return average_precision(flat.T, truth.T, valid.T).view(scores.shape[:-1]).mean(dim=1).cpu()


def _fit_drawn(inner: Gram, rows: Tensor, k: int, costs: Sequence[float]) -> Tensor:
    """[q, costs, m] dual coefficients of one problem per class and cost on its own rows; rows: [q, m], the k
    positives first.
    """
    positive = torch.arange(rows.shape[1], device=rows.device) < k
    found = []
    for some in rows.split(_groups_at_once(rows.shape[1], len(costs))):
        shape = (len(some), 1, -1)
        y, weight = _sign(positive).expand(shape), _class_weight(positive).expand(shape)
        found.append(fit_costs(inner.at(some), y, weight, costs).beta.squeeze(1))
    return torch.cat(found)


def _groups_at_once(m: int, costs: int) -> int:
    """How many groups of m rows fit into the memory set aside for them."""
    one = 16 * m * m + 4 * m * (RANK * (RANK + 1) // 2) + 200 * m * costs
    return max(1, _GROUP_BYTES // one)


def _scores(beta: Tensor, rows: Tensor, products: Tensor) -> Tensor:
    """[q, costs, r] scores of r rows. beta: [q, costs, m] of the training rows `rows`, [q, m]; products: [n,
    r].
    """
    if _SPARSE * rows.shape[1] > len(products):  # picking rows out would take longer than multiplying by all
        wide = beta.new_zeros(*beta.shape[:2], len(products)).scatter_(
            -1, rows[:, None].expand_as(beta), beta
        )
        return (wide.flatten(0, 1) @ products).view(*beta.shape[:2], -1)
    return torch.stack([own @ products[at] for own, at in zip(beta, rows, strict=True)])


def _mean_ap(scores: Tensor, label: Tensor) -> Tensor:
    """[costs] mean of the AP of the classes with a positive row; scores: [q, costs, n]; label: [n, q], -1
    where a row does not count.
    """
    known = (label == 1).any(dim=0)
    scores = scores[known]
    wide = label.T[known, None].expand(scores.shape).flatten(0, 1).T
    return voc_ap(scores.flatten(0, 1).T, wide == 1, wide != -1).view(scores.shape[:2]).mean(dim=0)


def _low_shot(k: int, tests: list[Tensor], rests: list[Tensor], costs: Sequence[float]) -> LowShot:
    """tests, rests: per draw, [costs] mAP on the test rows and on the rows left; none where none was left."""
    test = torch.stack(tests).cpu()
    held_out = torch.stack(rests).cpu() if len(rests) == len(tests) else None

    def spread(mean_ap: Tensor) -> Draws:
        best = _first_best(mean_ap.mean(dim=0)[None])[0]
        at = test[:, best]
        summary = (at.mean(), at.min(), at.max(), at.std(correction=0))
        return Draws(costs[best], *(float(value) for value in summary))

    return LowShot(k, test, held_out, spread(test), None if held_out is None else spread(held_out))


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
