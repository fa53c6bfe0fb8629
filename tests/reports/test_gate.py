"""The gate fails what fell, is gone or cannot be compared; it never passes by comparing nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.contract.score import Score, Spread
from pretrain.base.faults import Fault
from reports.gate.baseline import measured, read
from reports.gate.compare import Verdict, code, compare
from reports.records import found
from tests.reports.store import SMALL, another, benchmark, pretraining
from zoo.gate import Form, command, gate

KNN = SMALL["imagenet_knn"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A baseline of one number, 50, of three seeds with a standard deviation of 1."""
    for seed, value in enumerate((49.0, 50.0, 51.0)):
        benchmark(tmp_path / "old", KNN, {"top1": value}, seed=seed, n=300)
    path = tmp_path / "baseline.json"
    assert gate(tmp_path / "old", path, accept=True) == 0
    return path


def judged(base: Path, value: float = 50.0, protocol: Any = KNN, **more: Any) -> Verdict:
    """The verdict on a home with one number of one seed."""
    home = base.parent / "new"
    benchmark(home, protocol, {"top1": value}, **{"n": 300, **more})
    (verdict,) = compare(read(base), measured(found(home)))
    return verdict


def test_the_tolerance_is_three_standard_errors_of_the_difference_of_means(base: Path) -> None:
    (entry,) = read(base).entries
    assert (entry.value, entry.noise, entry.seeds) == (50.0, 1.0, (0, 1, 2))
    assert judged(base).tolerance == pytest.approx(3 * (1 / 3 + 1) ** 0.5)


@pytest.mark.parametrize(
    ("value", "state", "exit_"),
    [(50.0, "pass", 0), (46.6, "pass", 0), (46.5, "regressed", 3), (53.4, "pass", 0), (53.5, "rose", 0)],
)
def test_what_falls_fails_and_what_rises_warns(base: Path, value: float, state: str, exit_: int) -> None:
    verdict = judged(base, value)
    assert (verdict.state, code([verdict])) == (state, exit_)


@pytest.mark.parametrize(
    ("better", "state"), [("lower", "moved"), ("higher", "regressed"), ("", "regressed")]
)
def test_the_direction_is_the_score_s(tmp_path: Path, better: str, state: str) -> None:
    for home, value in (("old", 50.0), ("new", 40.0)):
        benchmark(tmp_path / home, KNN, {"top1": value}, better=better)
    gate(tmp_path / "old", tmp_path / "b.json", accept=True)
    (verdict,) = compare(read(tmp_path / "b.json"), measured(found(tmp_path / "new")))
    assert verdict.state == state


def test_a_number_without_a_direction_fails_when_it_rises(tmp_path: Path) -> None:
    for home, value in (("old", 50.0), ("new", 60.0)):
        benchmark(tmp_path / home, KNN, {"top1": value}, better="")
    gate(tmp_path / "old", tmp_path / "b.json", accept=True)
    assert gate(tmp_path / "new", tmp_path / "b.json") == 3


def test_verdicts_that_compare_nothing_do_not_pass() -> None:
    assert code([]) == 3
    assert code([Verdict("odc", "knn", "top1", "new", got=1.0)]) == 3


def test_one_seed_without_repeats_has_the_floor_and_floors_can_be_edited(tmp_path: Path) -> None:
    benchmark(tmp_path / "old", KNN, {"top1": 50.0})
    benchmark(tmp_path / "new", KNN, {"top1": 49.0})
    path = tmp_path / "b.json"
    gate(tmp_path / "old", path, accept=True)
    assert gate(tmp_path / "new", path) == 3
    body = json.loads(path.read_text())
    body["floors"] = {"%": 0.5, "top1": 1.5}
    path.write_text(json.dumps(body))
    assert gate(tmp_path / "new", path) == 0
    gate(tmp_path / "new", path, accept=True)
    assert read(path).floors == {"%": 0.5, "top1": 1.5}
    assert read(path).entries[0].value == 49.0


def test_the_noise_of_one_seed_is_that_of_its_own_repeats(tmp_path: Path) -> None:
    score = Score("top1", 50.0, 300, "val", spread=Spread.of("draws", [48.0, 52.0]))
    benchmark(tmp_path, KNN, {}, metrics=[score])
    assert measured(found(tmp_path)).entries[0].noise == 2.0


def test_evaluations_of_one_training_do_not_make_the_mean_surer(tmp_path: Path) -> None:
    """Two trainings at 40 and 60 have a mean of 50 with an error of 10, however often each is evaluated."""
    for trained in (0, 1):
        model = {"name": "odc", "method": "odc", "recipe": "odc", "config": "c", "seed": trained}
        for seed, value in enumerate((39.0, 40.0, 41.0)):
            more: dict[str, Any] = {"seed": seed, "weights": f"w{trained}", "at": f"-{trained}"}
            benchmark(tmp_path, KNN, {"top1": value + 20 * trained}, model, **more)
    (entry,) = measured(found(tmp_path)).entries
    assert (entry.value, len(entry.seeds)) == (50.0, 6)
    assert entry.noise / 6**0.5 == pytest.approx(10.0)


def test_numbers_of_the_same_weights_may_differ_by_the_floor_alone(tmp_path: Path) -> None:
    """Seeds of an untrained network differ by more than a wrong crop moves their mean."""
    path = tmp_path / "baseline.json"
    for home, shift in (("old", 0.0), ("new", 1.0)):
        for seed, value in enumerate((40.0, 50.0, 60.0)):
            identity = {"weights": f"w{seed}", "data": {"val": "aaaa"}, "seed": seed, **KNN.rule()}
            benchmark(tmp_path / home, KNN, {"top1": value + shift}, seed=seed, identity=identity)
    gate(tmp_path / "old", path, accept=True)
    (same,) = compare(read(path), measured(found(tmp_path / "new")))
    assert (same.state, same.tolerance, code([same])) == ("moved", 0.5, 3)
    others = {"weights": "other", "data": {"val": "aaaa"}, "seed": 2, **KNN.rule()}
    benchmark(tmp_path / "new", KNN, {"top1": 61.0}, seed=2, identity=others)
    (other,) = compare(read(path), measured(found(tmp_path / "new")))
    assert (other.state, other.tolerance) == ("pass", pytest.approx(30 * (2 / 3) ** 0.5))


def test_a_protocol_can_have_a_floor_of_its_own(tmp_path: Path) -> None:
    for home, value in (("old", 50.0), ("new", 49.0)):
        benchmark(tmp_path / home, KNN, {"top1": value}, seed=0)
    path = tmp_path / "b.json"
    gate(tmp_path / "old", path, accept=True)
    body = json.loads(path.read_text())
    path.write_text(json.dumps({**body, "floors": {"%": 0.5, KNN.name: 1.5}}))
    assert gate(tmp_path / "new", path) == 0
    path.write_text(json.dumps({**body, "floors": {"top1": 0.5, KNN.name: 1.5}}))
    assert gate(tmp_path / "new", path) == 3


def test_seeds_that_agree_by_chance_in_one_number_have_the_noise_of_all(tmp_path: Path) -> None:
    for seed, value in enumerate((48.0, 50.0, 52.0)):
        scores = {"top1": value, "top5": 80.0, "best": 60.0 + value / 2}
        benchmark(tmp_path, KNN, scores, seed=seed)
    noise = {entry.metric: entry.noise for entry in measured(found(tmp_path)).entries}
    together = ((4 + 0 + 1) / 3) ** 0.5
    assert noise == {"top1": 2.0, "top5": pytest.approx(together), "best": pytest.approx(together)}


def test_a_noisier_run_does_not_widen_its_own_tolerance(base: Path) -> None:
    home = base.parent / "new"
    for seed, value in enumerate((10.0, 50.0, 60.0)):
        benchmark(home, KNN, {"top1": value}, seed=seed, n=300)
    (verdict,) = compare(read(base), measured(found(home)))
    assert verdict.state == "regressed"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"protocol": another(KNN, version=KNN.version + 1)}, "protocol version"),
        ({"data": "bbbb"}, "data fingerprint"),
        ({"protocol": another(KNN, settings=SMALL["clustering"].settings)}, "settings of the protocol"),
        ({"n": 301}, "reported on"),
    ],
)
def test_what_cannot_be_compared_is_no_pass(base: Path, more: dict[str, Any], said: str) -> None:
    verdict = judged(base, **more)
    assert (verdict.state, code([verdict])) == ("not comparable", 3)
    assert f"another {said}" in verdict.why


def test_another_version_of_a_package_is_what_a_gate_compares_across(base: Path) -> None:
    rule = {**KNN.rule(), "packages": {"torch": "9"}}
    identity = {"weights": "wodc", "data": {"val": "aaaa"}, "seed": 0, **rule}
    assert judged(base, identity=identity).state == "pass"


def test_a_failed_job_fails(base: Path) -> None:
    verdict = judged(base, metrics=[], status="failed", reason="nan", message="no")
    assert (verdict.state, code([verdict])) == ("failed", 3)


def test_a_missing_number_fails_and_a_new_one_warns(base: Path) -> None:
    home = base.parent / "new"
    benchmark(home, SMALL["clustering"], {"nmi": 1.0})
    verdicts = compare(read(base), measured(found(home)))
    assert [verdict.state for verdict in verdicts] == ["missing", "new"]
    assert code(verdicts) == 3


def test_a_pretraining_that_failed_since_fails_the_numbers_of_its_old_weights(base: Path) -> None:
    home = base.parent / "new"
    benchmark(home, KNN, {"top1": 50.0}, n=300)
    pretraining(home, "odc", status="failed", reason="nan", message="diverged", facts={})
    (verdict,) = compare(read(base), measured(found(home)))
    assert (verdict.state, verdict.why) == ("failed", "pretrain seed 0 failed: nan: diverged")


def test_numbers_of_weights_that_are_gone_do_not_count(base: Path) -> None:
    home = base.parent / "new"
    benchmark(home, KNN, {"top1": 50.0}, n=300)
    pretraining(home, "odc", facts={"weights": {"weights": "others"}})
    (verdict,) = compare(read(base), measured(found(home)))
    assert verdict.state == "missing"


def test_the_newest_of_several_records_counts(base: Path) -> None:
    home = base.parent / "new"
    benchmark(home, KNN, {"top1": 50.0}, n=300, at="new", time={"end": "2026-02-02"})
    benchmark(home, KNN, {"top1": 10.0}, n=300, at="old", time={"end": "2026-01-01"})
    assert compare(read(base), measured(found(home)))[0].got == 50.0


def test_nothing_to_compare_is_a_fault(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Fault, match="holds no record"):
        gate(tmp_path / "empty", base)
    with pytest.raises(Fault, match="is not there; the same command with --accept writes it"):
        gate(tmp_path / "old", tmp_path / "absent.json")
    body = json.loads(base.read_text())
    base.write_text(json.dumps({**body, "entries": []}))
    with pytest.raises(Fault, match="nothing could fail"):
        gate(tmp_path / "old", base)
    base.write_text(json.dumps({**body, "schema": "zoo.baseline/2"}))
    with pytest.raises(Fault, match="not a baseline: schema"):
        gate(tmp_path / "old", base)


def test_a_failed_job_is_not_accepted(base: Path, tmp_path: Path) -> None:
    before = base.read_bytes()
    benchmark(tmp_path / "old", SMALL["clustering"], {}, status="failed", reason="nan", message="no")
    with pytest.raises(Fault, match="nothing is accepted: odc clustering has no number"):
        gate(tmp_path / "old", base, accept=True)
    assert base.read_bytes() == before


@pytest.mark.parametrize(
    "more", [{"junit": Path("gate.xml")}, {"summary": Path("gate.md")}, {"form": Form.JSON}]
)
def test_accepting_gives_no_verdict_in_a_file(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(Fault, match="--accept writes a baseline and gives no verdict"):
        command(tmp_path / "b.json", accept=True, suite="smoke", out=tmp_path, **more)


def test_accepting_says_what_changes(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = base.parent / "new"
    benchmark(home, KNN, {"top1": 40.0}, n=300)
    assert gate(home, base, accept=True) == 0
    assert "−10.00" in capsys.readouterr().out
    assert gate(home, base) == 0


def test_the_verdict_in_every_form(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = base.parent / "new"
    benchmark(home, KNN, {"top1": 40.0, "fresh": 1.0}, n=300)
    junit, summary = base.parent / "out" / "gate.xml", base.parent / "gate.md"
    assert gate(home, base, form=Form.JSON, junit=junit, summary=summary) == 3
    body = json.loads(capsys.readouterr().out)
    assert (body["code"], body["summary"]) == (3, "1 regressed, 1 new")
    assert [verdict["state"] for verdict in body["verdicts"]] == ["regressed", "new"]
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "1")
    cases = {case.attrib["name"]: [part.tag for part in case] for case in suite}
    assert cases == {"top1": ["failure"], "fresh": ["system-out"]}
    text = summary.read_text()
    assert text.startswith("## ❌ Zoo gate: 1 regressed, 1 new\n")
    assert "| odc | imagenet_knn | top1 | 50.00 | 40.00 | −10.00 | 3.46 | ❌ regressed |" in text
    assert gate(home, base) == 3
    assert "odc    imagenet_knn  top1    50.00     40.00  −10.00" in capsys.readouterr().out


def test_what_a_failed_job_said_is_one_printable_line_in_every_form(base: Path) -> None:
    home, junit = base.parent / "new", base.parent / "gate.xml"
    said = "first\nsecond \x1b[31mred\x00"
    benchmark(home, KNN, {}, status="failed", reason="upstream", message=said, metrics=[])
    assert gate(home, base, junit=junit) == 3
    failure = ElementTree.parse(junit).getroot()[0][0][0]
    assert r"upstream: first second \x1b[31mred\x00" in failure.attrib["message"]
