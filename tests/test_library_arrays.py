"""The zoo as a library on arrays: k-means and linear SVMs of rows that a notebook has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from benchmarks.solvers import voc_svm


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list])
def test_k_means_takes_any_array(kind: Any) -> None:
    x = [[0.0, 0.0], [0.0, 1.0], [10.0, 0.0], [10.0, 1.0]]
    found = zoo.kmeans(kind(x), 2)
    assert found.labels[0] == found.labels[1] != found.labels[2] == found.labels[3]
    assert sorted(found.centroids.tolist()) == [[0.0, 0.5], [10.0, 0.5]]


@pytest.mark.parametrize(
    ("x", "k", "more", "said"),
    [
        ([1.0, 2.0], 1, {}, r"x: expected a matrix \(rows, columns\), got \(2,\)"),
        ([[1.0], [2.0]], 3, {}, "3 clusters asked of 2 rows"),
        ([[1.0], [float("nan")]], 1, {}, "NaN or infinity"),
        ([[1.0], [2.0]], 1, {"metric": "cos"}, "metric must be one of l2, cosine, got 'cos'"),
        ([[1.0], [2.0]], 1, {"iterations": -1}, "expected 0 or more, got -1"),
        ([[1.0], [2.0]], 2, {"start": [[1.0]]}, r"start must be \(2, 1\) centroids"),
        ([["a"]], 1, {}, "expected an array of numbers"),
    ],
)
def test_k_means_says_what_is_wrong(x: Any, k: int, more: dict[str, Any], said: str) -> None:
    with pytest.raises(zoo.Fault, match=said):
        zoo.kmeans(x, k, **more)


@pytest.fixture(scope="module")
def labelled() -> tuple[Tensor, Tensor]:
    """200 rows of two classes that are nearly told apart, and a third by chance."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(200, 8, generator=rng)
    y = torch.stack([x[:, 0] > 0, x[:, 1] + 0.3 * x[:, 2] > 0.5, torch.rand(200, generator=rng) > 0.7], 1)
    return x, y.long()


COSTS = (0.01, 1.0, 10.0)


def test_svms_of_other_rows_are_the_protocols(labelled: tuple[Tensor, Tensor]) -> None:
    x, y = labelled
    found = zoo.linear_svm(x, y, costs=COSTS, rows=range(150))
    expected = voc_svm.full_svm(x[:150], y[:150], x[150:], y[150:], COSTS)
    assert found.average_precision.tolist() == expected.average_precision.tolist()
    assert found.cost.tolist() == list(expected.cost)
    assert found.average_precision[0] > 0.95 > found.average_precision[2]
    mask = np.arange(200) < 150
    assert zoo.linear_svm(x.numpy(), y.numpy(), costs=COSTS, rows=mask)[0].tolist() == found[0].tolist()


def test_without_other_rows_the_folds_are_scored(labelled: tuple[Tensor, Tensor]) -> None:
    found = zoo.linear_svm(*labelled, costs=COSTS)
    assert found.held_out.shape == (3, 3)
    assert found.average_precision.tolist() == found.held_out.max(axis=1).tolist()
    assert found.cost.tolist() == [COSTS[i] for i in found.held_out.argmax(axis=1)]


def test_given_folds_are_taken(labelled: tuple[Tensor, Tensor]) -> None:
    """Of a fold's rows each is scored by what was trained on the others."""
    x, y = labelled
    folds = np.arange(200) % 2
    found = zoo.linear_svm(x, y, costs=(1.0,), folds=folds).held_out[:, 0]
    apart = zoo.linear_svm(x, y, costs=(1.0,), folds=1 - folds).held_out[:, 0]
    assert found == pytest.approx(apart)
    stratified = np.stack([voc_svm.stratified_folds(column, 2) for column in y.numpy().T == 1])
    one = zoo.linear_svm(x, y[:, 0], costs=COSTS, folds=stratified[0].tolist())
    assert one.held_out.tolist() == zoo.linear_svm(x, y[:, :1], costs=COSTS, folds=2).held_out.tolist()
    assert found.tolist() != zoo.linear_svm(x, y, costs=(1.0,), folds=2).held_out[:, 0].tolist()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"targets": torch.zeros(287, 3)}, r"targets: expected as many rows as features \(200\), got 287"),
        ({"targets": torch.full((200, 3), 2)}, "expected 1 present, 0 absent, -1 neither, got 2"),
        ({"targets": torch.full((200, 3), 0.5)}, "expected 1 present, 0 absent, -1 neither, got 0.5"),
        ({"targets": torch.arange(200)}, "got 2, 3, 4, 5, 6; one column a class"),
        ({"targets": torch.ones(200, 1)}, "a class has 200 positive and 0 negative"),
        ({"targets": [1, -1] * 100}, "write absent as 0"),
        ({"targets": torch.zeros(2, 2, 2)}, "expected a matrix"),
        ({"features": torch.zeros(200)}, "features: expected a matrix"),
        ({"features": torch.full((200, 8), torch.inf)}, "expected finite numbers"),
        ({"costs": ()}, "costs: expected positive numbers, each once"),
        ({"costs": (1.0, -1.0)}, "costs: expected positive numbers, each once"),
        ({"folds": 1}, "folds: expected 2 or more, got 1"),
        ({"folds": [0, 1]}, "the fold of each of the 200 training rows"),
        ({"folds": [0, 2] * 100}, "numbers 0, 1, ... of at least two folds"),
        ({"folds": 150}, "150 folds need at least"),
        ({"rows": [0, 200]}, "row numbers from 0 to 199"),
        ({"rows": [0, 0]}, "each row once"),
        ({"rows": np.zeros(3, dtype=bool)}, "expected 200 booleans"),
    ],
)
def test_svms_say_what_is_wrong(labelled: tuple[Tensor, Tensor], more: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"features": labelled[0], "targets": labelled[1], "costs": COSTS}
    with pytest.raises(zoo.Fault, match=said):
        zoo.linear_svm(**(given | more))
