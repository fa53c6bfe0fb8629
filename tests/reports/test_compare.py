"""Models side by side: differences with their noise by hand, and what cannot be compared with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.score import Score, Selection, Spread
from pretrain.base.faults import Fault
from pretrain.base.settings import changed
from reports.compare import Comparison, Difference, Line, Number, compare
from reports.tables.cells import cell
from tests.reports.store import PAPER, another, benchmark, pretraining, view
from zoo import compare as verb

KNN, SVM = PAPER["imagenet_knn"], PAPER["voc07_svm"]


def line(made: Comparison, number: str = "k=20") -> Line:
    """The line of a number."""
    return next(one for one in made.lines if one.number == number)


def number(value: Number | str) -> Number:
    """A number that must be one."""
    assert isinstance(value, Number), value
    return value


def gap(made: Comparison, i: int = 1) -> Difference:
    """The difference of the i-th model to the first, which must be there."""
    found = line(made).differences[i]
    assert found is not None
    return found


def seeds(home: Path, model: str, values: list[float], **more: Any) -> None:
    """A training per value."""
    for seed, value in enumerate(values):
        weights = f"w{model}{seed or ''}"
        benchmark(home, KNN, {"k20_top1": value}, model=model, seed=seed, weights=weights, **more)


def evaluations(home: Path, protocol: Protocol, scores: dict[int, list[float]], name: str) -> Comparison:
    """Several values per training of ODC, as `--eval-seeds` leaves them; compared with another model."""
    for trained, values in scores.items():
        for seed, value in enumerate(values):
            said = {"name": "odc", "method": "odc", "recipe": "r", "config": "c", "seed": trained}
            more: dict[str, Any] = {"weights": f"w{trained}", "at": f"of{trained}", "n": 100}
            benchmark(home, protocol, {name: value}, said, seed=seed, **more)
    benchmark(home, protocol, {name: 50.0}, model="swav")
    return compare(view(home), ["odc", "swav"])


def test_the_noise_of_a_difference_of_means_over_seeds_is_that_of_welch(tmp_path: Path) -> None:
    a, b = [50.0, 52.0, 54.0], [60.0, 60.5]
    seeds(tmp_path, "odc", a)
    seeds(tmp_path, "swav", b)
    made = compare(view(tmp_path), ["odc", "swav"])
    first, second = (number(one) for one in line(made).numbers)
    assert (first.value, first.n, first.noise) == (52.0, 3, "seeds")
    assert first.error == pytest.approx(stdev(a) / 3**0.5)
    assert gap(made).value == 8.25
    assert gap(made).error == pytest.approx((stdev(a) ** 2 / 3 + stdev(b) ** 2 / 2) ** 0.5)
    assert (gap(made).clear, gap(made).better, second.n) == (True, True, 2)
    seeds(tmp_path, "near", [51.0, 54.0])
    close = gap(compare(view(tmp_path), ["odc", "near"]))
    assert (close.value, close.clear) == (0.5, False)


def test_of_one_seed_the_noise_is_that_of_its_images_or_repeats_or_not_known(tmp_path: Path) -> None:
    for model, value in (("odc", 50.0), ("swav", 64.0)):
        benchmark(tmp_path, KNN, {"k20_top1": value}, model=model, n=100)
        benchmark(tmp_path, SVM, {"mAP": value}, model=model)
        repeats = Score("nmi", value, 9, "val", spread=Spread.of("restarts", [value - 1, value + 1]))
        benchmark(tmp_path, PAPER["clustering"], {}, model=model, metrics=[repeats])
    made = compare(view(tmp_path), ["odc", "swav"])
    first = number(line(made).numbers[0])
    assert (first.error, first.noise) == (pytest.approx(5.0), "images")  # sqrt(0.5 * 0.5 / 100)
    assert gap(made).clear is True
    unknown = line(made, "SVM")
    assert number(unknown.numbers[0]).error is None
    assert unknown.differences[1] == Difference(14.0, None, None, True)
    repeated = number(line(made, "NMI").numbers[0])
    assert (repeated.error, repeated.noise) == (pytest.approx(1.0), "restarts")


def test_evaluations_of_one_training_do_not_count_as_trainings(tmp_path: Path) -> None:
    values = {0: [50.0, 51.0, 52.0], 1: [60.0, 61.0, 62.0], 2: [70.0]}
    first = number(line(evaluations(tmp_path, KNN, values, "k20_top1")).numbers[0])
    mean = 406 / 7
    away = [3 * (51 - mean) / 7, 3 * (61 - mean) / 7, (70 - mean) / 7]
    assert (first.value, first.n, first.noise) == (pytest.approx(mean), 7, "seeds")
    assert first.error == pytest.approx((sum(one**2 for one in away) * 3 / 2) ** 0.5)


@pytest.mark.parametrize(
    ("values", "error", "noise"),
    [([50.0, 50.0, 50.0], 5.0, "images"), ([20.0, 50.0, 80.0], 30 / 3**0.5, "evaluations")],
)
def test_the_same_weights_evaluated_again_are_never_without_noise(
    tmp_path: Path, values: list[float], error: float, noise: str
) -> None:
    first = number(line(evaluations(tmp_path, KNN, {0: values}, "k20_top1")).numbers[0])
    assert (first.value, first.n, first.noise) == (50.0, 3, noise)
    assert first.error == pytest.approx(error)
    equal = evaluations(tmp_path / "svm", SVM, {0: [60.0, 60.0]}, "mAP")
    assert number(line(equal, "SVM").numbers[0]).error is None
    assert gap(compare(view(tmp_path), ["odc", "swav"])).clear in (None, False)


def test_seeds_that_agree_by_chance_are_not_without_noise(tmp_path: Path) -> None:
    seeds(tmp_path, "odc", [10.1, 10.1, 10.1], n=100)
    seeds(tmp_path, "swav", [11.1, 11.1, 11.1], n=100)
    made = compare(view(tmp_path), ["odc", "swav"])
    assert number(line(made).numbers[0]).noise == "images"
    assert gap(made).clear is False
    for model, value in (("odc", 10.1), ("swav", 11.1)):
        for seed in range(2):
            benchmark(tmp_path, SVM, {"mAP": value}, model=model, seed=seed, weights=f"w{model}{seed}")
    assert line(compare(view(tmp_path), ["odc", "swav"]), "SVM").differences[1] == Difference(
        pytest.approx(1.0), None, None, True
    )


def test_a_lower_number_is_better_where_the_score_says_so(tmp_path: Path) -> None:
    for model, value in (("odc", 50.0), ("swav", 20.0)):
        benchmark(tmp_path, KNN, {"k20_top1": value}, model=model, better="lower")
    assert gap(compare(view(tmp_path), ["odc", "swav"])).better is True


def test_numbers_of_another_rule_or_other_data_are_refused_with_what_differs(tmp_path: Path) -> None:
    seeds(tmp_path, "odc", [50.0])
    warm = another(KNN, settings=changed(KNN.settings, temperature=0.2))
    benchmark(tmp_path, warm, {"k20_top1": 60.0}, model="warm")
    benchmark(tmp_path, KNN, {"k20_top1": 60.0}, model="data", data="bbbb")
    benchmark(tmp_path, another(KNN, version=9), {"k20_top1": 60.0}, model="newer")
    benchmark(tmp_path, KNN, {"k20_top1": 60.0}, model="fewer", n=10)
    benchmark(tmp_path, KNN, {"k20_top1": 60.0}, model="same")
    names = ["odc", "warm", "data", "newer", "fewer", "same"]
    refused = line(compare(view(tmp_path), names)).refused
    assert refused[2] == "data.val aaaa or bbbb"
    assert refused[3] == f"version {KNN.version} or 9"
    assert refused[4] == "scored on [50000] or [10] samples"
    assert refused[0] == refused[5] == ""
    assert refused[1] == "settings.temperature 0.07 or 0.2"


def test_settings_that_differ_are_named_and_those_alike_are_not(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    pretraining(tmp_path, "swav")
    seeds(tmp_path, "given", [1.0])
    made = compare(view(tmp_path), ["odc", "swav", "given"])
    known = dict(made.settings)
    assert list(known["method"]) == ["odc", "swav", "–"]
    assert made.unknown == ["given"]
    alike = compare(view(tmp_path), ["odc", "swav"])
    assert all(values[0] != values[1] for _, values in alike.settings)
    assert "arch" not in dict(alike.settings)


def test_a_seed_is_compared_with_another(tmp_path: Path) -> None:
    seeds(tmp_path, "odc", [50.0, 53.0])
    made = compare(view(tmp_path), ["odc@0", "odc@1"])
    assert [number(one).value for one in line(made).numbers] == [50.0, 53.0]
    assert gap(made).value == 3.0


def test_what_one_seed_has_failed_at_hides_no_number_of_another(tmp_path: Path) -> None:
    failed: dict[str, Any] = {"status": "failed", "reason": "nan", "message": "diverged"}
    seeds(tmp_path, "odc", [50.0])
    pretraining(tmp_path, "odc")
    pretraining(tmp_path, "swav")
    benchmark(tmp_path, KNN, {}, model="odc", seed=1, **failed)
    pretraining(tmp_path, "odc", seed=1, **failed)
    seeds(tmp_path, "swav", [60.0])
    made = compare(view(tmp_path), ["swav", "odc@0", "odc@1", "odc"])
    assert number(line(made).numbers[1]).value == 50.0
    assert line(made).numbers[2:] == ["failed", "failed"]
    assert "odc@0" not in made.unknown


def test_seeds_are_compared_at_one_setting_as_in_the_tables(tmp_path: Path) -> None:
    """C=1 is best for one seed and C=2 for the other; C=2 on average."""
    shot = PAPER["voc07_low_shot"]
    for seed, among in enumerate(({"C=1": 40.0, "C=2": 38.0}, {"C=1": 30.0, "C=2": 42.0})):
        cost = max(among, key=among.__getitem__)
        score = Score("k4", among[cost], 9, "test", selection=Selection("cost", cost, "test", among))
        benchmark(tmp_path, shot, {}, seed=seed, weights=f"w{seed}", metrics=[score])
    benchmark(tmp_path, shot, {"k4": 40.0}, model="swav")
    assert number(line(compare(view(tmp_path), ["odc", "swav"]), "k=4").numbers[0]).value == 40.0
    (row,) = (row for row in view(tmp_path).rows if row.model == "odc")
    column = next(column for column in shot.columns if column.score == "k4")
    assert cell(row, shot, column).text == "40.00 ± 2.83 (n = 2)"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["odc"], "two or more different models"),
        (["odc", "odc"], "two or more different models"),
        (["odc", "swv"], "unknown model 'swv'"),
        (["odc", "odc@7"], "odc has no record of seed 7; it has seeds 0"),
        (["odc", "odc@"], "odc has no record of seed"),
    ],
)
def test_names_that_are_none_are_said(tmp_path: Path, names: list[str], said: str) -> None:
    seeds(tmp_path, "odc", [50.0])
    with pytest.raises(Fault, match=said):
        compare(view(tmp_path), names)


def test_what_is_missing_is_a_word(tmp_path: Path) -> None:
    seeds(tmp_path, "odc", [50.0])
    seeds(tmp_path, "swav", [60.0])
    benchmark(tmp_path, KNN, {}, model="broken", status="failed", reason="nan", message="x")
    made = line(compare(view(tmp_path), ["odc", "broken", "swav"]))
    assert made.numbers[1] == "failed"
    assert made.differences[1] is None
    assert made.differences[2] is not None


def test_the_command_says_differences_noise_and_reasons_and_json_has_all_of_it(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    pretraining(tmp_path, "swav")
    seeds(tmp_path, "odc", [50.0, 52.0])
    seeds(tmp_path, "swav", [60.0, 62.0])
    benchmark(tmp_path, SVM, {"mAP": 60.0}, model="odc")
    benchmark(tmp_path, SVM, {"mAP": 60.0}, model="swav", data="bbbb")
    app = typer.Typer()
    app.command()(verb.command)
    words = ["odc", "swav", "--suite", "paper", "--out", str(tmp_path)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0
    for part in ("51.0 ± 1.0 (n = 2)", "+10.0 ± 1.4", "not comparable [1]", "[1] data.val aaaa or bbbb"):
        assert part in shown.output, part
    made = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert made["models"] == ["odc", "swav"]
    assert {"lines", "settings", "unknown"} <= made.keys()
