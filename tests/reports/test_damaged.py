"""A record that cannot be read is told in tables, pages, comparisons and the gate, never passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from reports.compare import compare
from reports.damaged import damaged
from reports.gate.baseline import accept, measured
from reports.records import found
from reports.tables.cells import Missing, Row
from reports.view import View
from tests.planned import finish as finished
from tests.planned import jobs, plan, pretend
from tests.reports.store import SMALL
from zoo.gate import gate
from zoo.kept import kept
from zoo.show import tables
from zoo.suites.suite import Suite

KNN = "imagenet_knn"


@pytest.fixture
def broken(suite: Suite, tmp_path: Path) -> Path:
    """The record of ODC's k-NN in a finished home, which a crash has left as two characters."""
    finished(suite, tmp_path)
    (path,) = tmp_path.glob("results/odc/imagenet_knn/*/result.json")
    path.write_text("{b")
    return path


def shown(suite: Suite, home: Path) -> View:
    """What pages are made from."""
    records, others = kept(home)
    return View(records, tuple(suite.catalogue().values()), "own", damaged=others)


def rows(suite: Suite, home: Path) -> list[Row]:
    """The row of ODC from a plan, and from records alone."""
    return [tables.row(suite.entry("odc"), plan(suite, home)), *shown(suite, home).rows]


def test_tables_and_pages_say_damaged_and_why(broken: Path, suite: Suite, tmp_path: Path) -> None:
    for row in rows(suite, tmp_path):
        cell = row.found(KNN)
        assert isinstance(cell, Missing)
        assert cell.word == "damaged"
        assert "is not a result record" in cell.why
    assert KNN in {protocol.name for protocol in tables.begun(plan(suite, tmp_path))}


def test_what_other_seeds_have_stays_and_a_note_says_so(broken: Path, suite: Suite, tmp_path: Path) -> None:
    text = broken.read_bytes()
    broken.unlink()
    pretend(jobs(suite, tmp_path)[KNN], suite)
    other = broken.parent.with_name("0123") / broken.name
    other.parent.mkdir()
    other.write_bytes(text)
    (row,) = shown(suite, tmp_path).rows
    assert not isinstance(row.found(KNN), Missing)
    assert row.lacking == {KNN: ("a record damaged",)}


def test_a_command_says_the_path_once(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records, (one,) = kept(tmp_path)
    assert (one.path, one.model, one.protocol) == (broken, "odc", KNN)
    assert len(records) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"damaged: {broken}: its file is not a result record: ")


def test_a_comparison_has_the_word(broken: Path, suite: Suite, tmp_path: Path) -> None:
    lines = compare(shown(suite, tmp_path), ["odc@0", "odc"]).lines
    line = next(one for one in lines if one.benchmark == SMALL[KNN].title)
    assert list(line.numbers) == ["damaged", "damaged"]


def test_the_gate_fails_and_accepts_nothing(broken: Path, suite: Suite, tmp_path: Path) -> None:
    records = found(tmp_path)
    failed = measured(records, frozenset(), damaged(tmp_path, records)).failed
    assert failed["odc", KNN].startswith("damaged: its file is not a result record")
    with pytest.raises(Fault, match=f"nothing is accepted: odc {KNN} has no number"):
        gate(tmp_path, tmp_path / "baseline.json", accept=True)
    pretend(jobs(suite, tmp_path)[KNN], suite)
    accept(tmp_path / "baseline.json", measured(found(tmp_path)))
    assert gate(tmp_path, tmp_path / "baseline.json") == 0
    broken.write_text("")
    assert gate(tmp_path, tmp_path / "baseline.json") == 3


def test_a_pretraining_whose_record_is_damaged_is_one(broken: Path, tmp_path: Path) -> None:
    (path,) = tmp_path.glob("models/*/result.json")
    path.write_text("")
    assert {(one.model, one.protocol) for one in damaged(tmp_path, found(tmp_path))} == {
        ("odc", KNN),
        ("odc", "pretrain"),
    }
