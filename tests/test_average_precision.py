"""Average precision: hand-computed vectors, literal loops, and scikit-learn on tied scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor

from benchmarks.solvers.average_precision import average_precision, voc_ap

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
KERNELS: list[Kernel] = [average_precision, voc_ap]


def literal_voc_ap(score: NDArray[np.float64], label: NDArray[np.bool_]) -> float:
    order = np.argsort(score, kind="stable")[::-1]
    hit = label[order]
    recall = np.concatenate([[0.0], np.cumsum(hit) / hit.sum(), [1.0]])
    precision = np.concatenate([[0.0], np.cumsum(hit) / np.arange(1, len(hit) + 1), [0.0]])
    for i in range(len(precision) - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    return float(sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall))))


def literal_sklearn(score: NDArray[np.float64], label: NDArray[np.bool_]) -> float:
    return float(average_precision_score(label, score))


LITERAL = dict(zip(KERNELS, (literal_sklearn, literal_voc_ap), strict=True))


def column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize(
    ("kernel", "expected"),
    zip(KERNELS, (0.747024, 0.767857), strict=True),
    ids=lambda v: str(v)[:24],
)
def test_hand_computed_ranking(kernel: Kernel, expected: float) -> None:
    positive = column([1, 0, 1, 1, 0, 0, 1]).bool()
    scores = column([7, 6, 5, 4, 3, 2, 1])
    assert kernel(scores, positive, torch.ones_like(positive)).item() == pytest.approx(expected, abs=5e-7)


def test_tied_rows_share_one_threshold_in_the_non_interpolated_ap() -> None:
    positive = column([1, 0, 0, 1]).bool()
    # Thresholds 2 (one of two is positive, recall 1/2) and 1 (two of four, recall 1): both precisions are
    # 1/2.
    assert average_precision(column([2, 2, 1, 1]), positive, torch.ones_like(positive)).item() == 0.5


def test_interpolated_ap_takes_tied_rows_in_reverse_row_order() -> None:
    everyone = torch.ones(2, 1, dtype=torch.bool)
    assert voc_ap(column([1, 1]), column([0, 1]).bool(), everyone).item() == 1.0
    assert voc_ap(column([1, 1]), column([1, 0]).bool(), everyone).item() == 0.5


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("levels", [3, 20, 10**9])
@pytest.mark.case(43)
def test_columns_equal_the_literal_definition_over_their_valid_rows(kernel: Kernel, levels: int) -> None:
    rng = np.random.default_rng(levels)
    scores = rng.integers(-levels, levels, (60, 25)) / 7
    positive, valid = rng.random((60, 25)) < rng.uniform(0.05, 0.9, 25), rng.random((60, 25)) < 0.8
    positive[0], valid[0] = True, True
    result = kernel(*(torch.from_numpy(a) for a in (scores, positive, valid)))
    expected = [LITERAL[kernel](scores[valid[:, j], j], positive[valid[:, j], j]) for j in range(25)]
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_perfect_ranking_is_exactly_one(kernel: Kernel) -> None:
    scores = torch.arange(300, 0, -1, dtype=torch.float64)[:, None].repeat(1, 150)
    positive = torch.arange(300)[:, None] < torch.arange(1, 151)
    assert (kernel(scores, positive, torch.ones_like(positive)) == 1).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_column_without_a_valid_positive_is_refused(kernel: Kernel) -> None:
    positive = torch.tensor([[True, True], [False, False]])
    valid = torch.tensor([[True, False], [True, True]])
    with pytest.raises(ValueError, match=r"columns \[1\] \(1 of 2\) have no valid positive row"):
        kernel(torch.zeros(2, 2), positive, valid)
