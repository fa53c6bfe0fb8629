"""The two VOC07 SVM evaluations against their literal definition with LinearSVC, one fit at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC
from torch import Tensor

from benchmarks.protocols.voc_svm.protocol import COSTS
from benchmarks.solvers.voc_svm import draw_rows, full_svm, low_shot_svm, stratified_folds
from tests import newton_svm
from tests.test_average_precision import literal_voc_ap

FEW = (1.0, 10.0, 0.0625, 0.5**10)


@dataclass(frozen=True)
class Data:
    train_x: Tensor
    train_label: Tensor
    test_x: Tensor
    test_label: Tensor

    def arrays(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.train_x, self.train_label, self.test_x, self.test_label


def three_classes() -> Data:
    """Three overlapping classes, the last rare; 5 % of the absent labels are difficult (-1)."""
    g = torch.Generator().manual_seed(0)
    centre = torch.randn(3, 16, generator=g)

    def split(n: int) -> tuple[Tensor, Tensor]:
        present = torch.rand(n, 3, generator=g) < torch.tensor([0.3, 0.15, 0.08])
        x = (0.7 * present.float() @ centre + torch.randn(n, 16, generator=g)).relu()
        difficult = ~present & (torch.rand(n, 3, generator=g) < 0.05)
        return x, present.int() - difficult.int()

    return Data(*split(100), *split(70))


@pytest.fixture(scope="module")
def data() -> Data:
    return three_classes()


def normalised(x: Tensor) -> NDArray[np.float64]:
    rows = x.double().numpy()
    return np.asarray(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-5), dtype=np.float64)


def scores(
    x: NDArray[np.float64], y: NDArray[np.bool_], cost: float, of: NDArray[np.float64]
) -> NDArray[np.float64]:
    model = LinearSVC(C=cost, class_weight={1: 2, 0: 1}, dual=False, tol=1e-10, max_iter=10**5)
    return np.asarray(model.fit(x, y.astype(int)).decision_function(of), dtype=np.float64)


def known_ap(score: NDArray[np.float64], label: NDArray[np.int32]) -> float:
    return literal_voc_ap(score[label != -1], label[label != -1] == 1)


def test_there_are_19_costs_with_exact_values() -> None:
    assert COSTS[:4] == (1.0, 10.0, 100.0, 0.0625)
    assert COSTS[-1] == 1.9073486328125e-06
    assert len(set(COSTS)) == len(COSTS) == 19


@pytest.mark.case(43)
def test_full_svm_equals_the_literal_protocol(data: Data) -> None:
    result = full_svm(*data.arrays(), costs=FEW)
    x, t, truth = normalised(data.train_x), normalised(data.test_x), data.test_label.numpy()
    for q in range(3):
        y = data.train_label[:, q].numpy() == 1
        trial = [
            [
                average_precision_score(y[held], scores(x[kept], y[kept], cost, x[held]))
                for kept, held in StratifiedKFold(3).split(x, y)
            ]
            for cost in FEW
        ]
        np.testing.assert_allclose(result.held_out[q].numpy(), np.mean(trial, axis=1), rtol=1e-12)
        best = FEW[int(np.argmax(np.mean(trial, axis=1)))]
        assert result.cost[q] == best
        expected = known_ap(scores(x, y, best, t), truth[:, q])
        assert result.average_precision[q].item() == pytest.approx(expected, rel=1e-12)


def test_the_first_of_equally_good_costs_is_chosen() -> None:
    x = torch.cat([torch.eye(2).repeat(6, 1), torch.eye(2)[:1].repeat(6, 1)])
    label = (x[:, :1] == 0).int()
    for costs in ((1.0, 10.0, 100.0), (100.0, 1.0, 10.0)):
        result = full_svm(x, label, x, label, costs=costs)
        assert result.cost == costs[:1]
        assert result.average_precision.item() == 1


@pytest.mark.parametrize("k", [1, 3])
def test_low_shot_svm_equals_the_literal_protocol(data: Data, k: int) -> None:
    # k = 1 takes 20 of 100 rows and solves each class on its own; k = 3 takes 60 and solves all classes
    # together.
    (result,) = low_shot_svm(*data.arrays(), costs=FEW, ks=(k,), samples=2, seed=7)
    x, t = normalised(data.train_x), normalised(data.test_x)
    label, truth = data.train_label.numpy(), data.test_label.numpy()
    test, held_out = np.zeros((2, 3, 4)), np.zeros((2, 3, 4))
    for s in range(2):
        for q, rows in enumerate(draw_rows(label, k, s, 7)):
            rest = np.setdiff1d(np.arange(100), rows)
            for j, cost in enumerate(FEW):
                test[s, q, j] = known_ap(scores(x[rows], label[rows, q] == 1, cost, t), truth[:, q])
                held = scores(x[rows], label[rows, q] == 1, cost, x[rest])
                held_out[s, q, j] = known_ap(held, label[rest, q])
    np.testing.assert_allclose(result.test.numpy(), test.mean(1), rtol=1e-12)
    assert result.held_out is not None
    np.testing.assert_allclose(result.held_out.numpy(), held_out.mean(1), rtol=1e-12)
    for chosen, by in ((result.chosen_on_test, test), (result.chosen_on_held_out, held_out)):
        assert chosen is not None
        j = int(np.argmax(by.mean(axis=(0, 1))))
        at = test.mean(1)[:, j]
        assert chosen.cost == FEW[j]
        assert (chosen.mean, chosen.minimum, chosen.maximum) == pytest.approx((at.mean(), at.min(), at.max()))
        assert chosen.std == pytest.approx(at.std(ddof=0))


@pytest.mark.slow
@pytest.mark.case(44)
def test_the_held_out_choice_never_sees_the_test_labels(data: Data) -> None:
    train_x, train_label, test_x, test_label = data.arrays()
    shuffled = test_label[torch.randperm(70, generator=torch.Generator().manual_seed(1))]
    honest, other = (
        low_shot_svm(train_x, train_label, test_x, t, COSTS, ks=(2,), samples=2)[0]
        for t in (test_label, shuffled)
    )
    assert honest.held_out is not None
    assert other.held_out is not None
    assert torch.equal(honest.held_out, other.held_out)
    assert honest.chosen_on_held_out is not None
    assert other.chosen_on_held_out is not None
    assert honest.chosen_on_held_out.cost == other.chosen_on_held_out.cost
    assert honest.chosen_on_test.mean >= honest.chosen_on_held_out.mean


@pytest.mark.slow
def test_a_class_whose_positives_are_all_drawn_is_left_out_of_the_held_out_choice(data: Data) -> None:
    train_x, train_label, test_x, test_label = data.arrays()
    train_label = train_label.clone()
    train_label[(train_label[:, 2] == 1).nonzero()[1:, 0], 2] = -1
    three, two = (
        low_shot_svm(train_x, train_label[:, :q], test_x, test_label[:, :q], COSTS, ks=(1,), samples=1)[0]
        for q in (3, 2)
    )
    assert three.held_out is not None
    assert two.held_out is not None
    assert torch.equal(three.held_out, two.held_out)
    alone = (train_x, train_label[:, 2:], test_x, test_label[:, 2:])
    (nothing_left,) = low_shot_svm(*alone, COSTS, ks=(1,), samples=1)
    assert nothing_left.held_out is None
    assert nothing_left.chosen_on_held_out is None
    assert 0 < nothing_left.chosen_on_test.mean <= 1


def test_draws_take_k_present_and_19k_absent_rows(data: Data) -> None:
    label = data.train_label.numpy()
    for q, rows in enumerate(draw_rows(label, 3, sample=0, seed=0)):
        assert len(rows) == len(set(rows)) == 60
        assert (label[rows[:3], q] == 1).all()
        assert (label[rows[3:], q] == 0).all()
    first = draw_rows(label, 3, 0, 0)
    assert (first == draw_rows(label, 3, 0, 0)).all()
    assert (first != draw_rows(label, 3, 1, 0)).any()
    assert (first != draw_rows(label, 3, 0, 1)).any()
    twice = draw_rows(label[:, [0, 0]], 3, 0, 0)
    assert (twice[0] != twice[1]).any()
    assert draw_rows(label, 3, 0, 0, negatives=4).shape == (3, 15)


def test_too_few_rows_are_named(data: Data) -> None:
    with pytest.raises(
        ValueError, match=r"class 0 at k=5 needs 5 training rows with label 1 and 95 with label 0"
    ):
        low_shot_svm(*data.arrays(), COSTS, ks=(5,))
    with pytest.raises(ValueError, match="class has 2 positive and 5 negative training rows, 3 folds need"):
        stratified_folds(np.arange(7) < 2)
    truth = data.test_label.clone().index_fill_(1, torch.tensor(1), 0)
    with pytest.raises(ValueError, match=r"classes \[1\] have no test row with label 1"):
        full_svm(data.train_x, data.train_label, data.test_x, truth, COSTS)


@pytest.mark.case(11)
def test_features_that_are_not_finite_are_named(data: Data) -> None:
    x = data.train_x.clone()
    x[3, 0], x[5, 0] = torch.nan, torch.inf
    with pytest.raises(ValueError, match="2 of 100 rows hold NaN or infinity, the first is row 3"):
        full_svm(x, *data.arrays()[1:], COSTS)


def test_folds_are_stratified_in_row_order() -> None:
    positive = np.array([1, 0, 0, 1, 0, 0, 0, 1, 0, 1], dtype=bool)
    # Four positives first in the deal: folds get 2, 1, 1 of them, then 2, 2, 2 of the six negatives.
    assert stratified_folds(positive).tolist() == [0, 0, 0, 0, 1, 1, 2, 1, 2, 2]


def digits(kind: str) -> Data:
    """Scanned digits as they are, nearly parallel, each training row three times, or with one class on its
    own axis.
    """
    x, label = (torch.from_numpy(a[:500]) for a in load_digits(return_X_y=True))
    x, y = x.float(), (label[:, None] == torch.arange(4)).int()
    if kind == "nearly parallel":
        x = 1000 + x
    elif kind == "separable":
        x = torch.cat([x, 100.0 * y[:, :1]], dim=1)
    train, truth = x[:200], y[:200]
    if kind == "duplicated":
        train, truth = train[:80].repeat(3, 1), truth[:80].repeat(3, 1)
    return Data(train, truth, x[200:], y[200:])


def primal_scores(x: NDArray[np.float64], y: NDArray[np.bool_], c: Tensor, of: NDArray[np.float64]) -> Tensor:
    """[rows of `of`, costs]; c: [n, costs]."""
    rows, others = (torch.from_numpy(np.column_stack([a, np.ones(len(a))])) for a in (x, of))
    sign = (torch.from_numpy(y).double() * 2 - 1)[:, None].expand_as(c)
    return others @ (rows.T @ newton_svm.fit(newton_svm.rotate(rows), sign, c))


@pytest.mark.parametrize(
    "kind",
    [
        "as they are",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("nearly parallel", "separable", "duplicated")
        ),
    ],
)
def test_digits_have_the_costs_and_the_ap_of_the_primal_method(kind: str) -> None:
    data = digits(kind)
    grid = (100.0, 1.0, 0.0625, 0.5**10)
    result = full_svm(*data.arrays(), costs=grid)
    x, t = normalised(data.train_x), normalised(data.test_x)
    for q in range(4):
        y, truth = data.train_label[:, q].numpy() == 1, data.test_label[:, q].numpy()
        c = (1 + torch.from_numpy(y).double())[:, None] * torch.tensor(grid).double()
        trial = []
        for kept, held in StratifiedKFold(3).split(x, y):
            found = primal_scores(x[kept], y[kept], c[torch.from_numpy(kept)], x[held]).numpy()
            trial.append([average_precision_score(y[held], column) for column in found.T])
        np.testing.assert_allclose(result.held_out[q].numpy(), np.mean(trial, axis=0), rtol=0, atol=1e-6)
        best = int(np.argmax(np.mean(trial, axis=0)))
        assert result.cost[q] == grid[best]
        expected = known_ap(primal_scores(x, y, c, t)[:, best].numpy(), truth)
        assert result.average_precision[q].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_how_many_draws_are_solved_together_does_not_change_the_answer(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = low_shot_svm(*data.arrays(), COSTS, ks=(1, 2), samples=2)
    monkeypatch.setattr("benchmarks.solvers.voc_svm._GROUP_BYTES", 1)
    for one, other in zip(together, low_shot_svm(*data.arrays(), COSTS, ks=(1, 2), samples=2), strict=True):
        torch.testing.assert_close(one.test, other.test, rtol=0, atol=1e-12)
        assert one.chosen_on_test == other.chosen_on_test


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_numbers_of_the_cpu(data: Data) -> None:
    here, there = (full_svm(*data.arrays(), COSTS, device=device) for device in ("cpu", "cuda"))
    assert here.cost == there.cost
    torch.testing.assert_close(here.average_precision, there.average_precision, rtol=0, atol=1e-9)
    (own,), (other,) = (
        low_shot_svm(*data.arrays(), COSTS, ks=(2,), samples=2, device=device) for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(own.test, other.test, rtol=0, atol=1e-9)
