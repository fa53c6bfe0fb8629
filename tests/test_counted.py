"""Where a trial has several records, pages, comparisons and the gate count the one that the suite plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.contract.result import Result
from pretrain.nets import checkpoint
from reports.gate.baseline import measured
from reports.records import current, found, rule
from tests import scenes
from tests.test_run import zoo
from zoo.clusters.model import weights
from zoo.plan.counted import counted, of_suite
from zoo.request import everything

pytestmark = pytest.mark.slow  # whole commands, a process each
SUITE = """
variant = "smoke"
images = "imagenet/train"
beside = []
[data]
imagenet = "imagenet"
[odc]
epochs = 1
batch_size = 12
clusters = 6
min_cluster = 2
"""
OTHERS = ("imagenet_knn.temperature=0.7", "odc.lr=0.02")  # of a benchmark, of its pretraining


@pytest.fixture(scope="module", params=OTHERS)
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite whose home holds ODC's numbers by its own settings, and newer ones by another."""
    root = tmp_path_factory.mktemp("counted")
    scenes.folder(root / "imagenet", per_class=12)
    (root / "own.toml").write_text(SUITE)
    for more in ([], ["--set", request.param]):
        asked = ("--suite", str(root / "own.toml"), "--benchmarks", "imagenet_knn", *more)
        done = zoo("run", "odc", *asked, home=root / "home")
        assert done.returncode == 0, done.stderr
    return root / "own.toml"


def knn(suite: Path, *sets: str) -> Result:
    """The record of k-NN that counts."""
    home = suite.parent / "home"
    planned = counted(everything(str(suite), home, list(sets)))
    (record,) = (r for _, r in current(found(home), planned) if r.protocol["name"] == "imagenet_knn")
    return record


def test_the_suite_s_own_record_stands_before_a_newer_one(suite: Path) -> None:
    assert len([r for _, r in found(suite.parent / "home") if r.protocol["name"] == "imagenet_knn"]) == 2
    (newest,) = (r for _, r in current(found(suite.parent / "home")) if r.protocol["name"] == "imagenet_knn")
    assert knn(suite).time["end"] < newest.time["end"]


def test_other_settings_that_are_asked_for_count(suite: Path) -> None:
    found_by = {knn(suite).key, *(knn(suite, other).key for other in OTHERS)}
    assert len(found_by) == 2, "of the three, one setting was never run: what there is stands for it"


def test_pages_and_gate_show_what_the_tables_show(suite: Path, tmp_path: Path) -> None:
    home = suite.parent / "home"
    tables = zoo("report", "--suite", str(suite), home=home)
    assert tables.returncode == 0, tables.stderr
    key = knn(suite).key
    assert key in (home / "tables.md").read_text()
    pages = zoo("report", "--suite", str(suite), "--pages", str(tmp_path / "pages"), home=home)
    assert pages.returncode == 0, pages.stderr
    linked = "".join(page.read_text() for page in (tmp_path / "pages").rglob("*.md"))
    assert key in linked
    assert all(
        r.key not in linked for _, r in found(home) if r.protocol["name"] == "imagenet_knn" and r.key != key
    )
    entries = measured(found(home), of_suite(str(suite), home)).entries
    assert {entry.rule for entry in entries} == {rule(knn(suite))}
    assert {entry.metric: entry.value for entry in entries} == {s.name: s.value for s in knn(suite).metrics}


def test_a_model_s_name_means_the_weights_of_the_suite(suite: Path) -> None:
    file = weights("odc", suite.parent / "home", 0, str(suite))
    assert checkpoint.describe(file).identity()["weights"] == knn(suite).identity["weights"]
