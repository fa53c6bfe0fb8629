"""The promise: one command from images to tables, and the same command again computes nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.contract import result
from tests import golden, scenes
from tests.faults import commands
from zoo.suites.suite import FLOORS

pytestmark = pytest.mark.slow  # whole commands, a process each
ALL = ("run", "odc", "--all-benchmarks", "--suite", "smoke")


def zoo(*words: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`python -m zoo ...`, in a process of its own, on one thread: with their number the rounding
    changes.
    """
    out, environment = ["--out", str(home)] if home else [], {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "zoo", *words, *out], capture_output=True, text=True, env=environment
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished smoke suite: drawn, pretrained, benchmarked; about a minute."""
    place = tmp_path_factory.mktemp("smoke")
    done = zoo(*ALL, home=place)
    assert done.returncode == 0, done.stderr
    return place


def test_every_cell_holds_a_number_or_a_reason(home: Path) -> None:
    page = (home / "tables.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| [")]
    assert len(rows) == 27  # eight tables of three models, two rows each in the semi-supervised one
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert all(cells), row
        assert not re.search(r"\bnan\b|\binf\b", row)
    links = re.findall(r"\]\(([^)]*result\.json)\)", page)
    assert links
    assert all((home / link).exists() for link in links)


def test_every_accepted_number_is_still_there_and_no_other(home: Path) -> None:
    shapes = [
        {model: {name: set(scores) for name, scores in one.numbers.items()} for model, one in every.items()}
        for every in (golden.accepted(), golden.collect(home))
    ]
    assert shapes[0] == shapes[1]


def test_untrained_weights_are_the_accepted_ones(home: Path) -> None:
    """They are drawn, on every processor alike: other ones make every number of `random` another."""
    accepted, found = golden.accepted(), golden.collect(home)
    for model in FLOORS:
        assert found[model].weights == accepted[model].weights, model


def test_the_accepted_weights_have_the_accepted_numbers(home: Path) -> None:
    """A change that moves a number fails here until `make accept` accepts it on purpose."""
    accepted, found = golden.accepted(), golden.collect(home)
    others = [f"{m} {found[m].weights[:12]}" for m in accepted if found[m].weights != accepted[m].weights]
    if others:  # the arithmetic differs: `make gate` knows how far a number may move then
        pytest.skip(f"training has left other weights than the accepted ones here: {', '.join(others)}")
    for model, (_, protocols) in accepted.items():
        for protocol, metrics in protocols.items():
            for name, value in metrics.items():
                expected = pytest.approx(value, abs=golden.SAME)
                assert found[model].numbers[protocol][name] == expected, (model, protocol, name)


def test_the_same_command_computes_nothing_and_prints_the_tables(home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in home.rglob("result.json")}
    again = zoo(*ALL, home=home)
    assert again.returncode == 0
    assert "started" not in again.stderr
    assert "VOC SVM" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in home.rglob("result.json")} == before


def test_a_changed_setting_runs_exactly_its_own_jobs(home: Path) -> None:
    again = zoo(*ALL, "--set", "clustering.restarts=1", home=home)
    assert again.returncode == 0, again.stderr
    assert re.findall(r"(\w+ \w+): started", again.stderr) == [
        "odc clustering",
        "random clustering",
        "raw_pixels clustering",
    ]


def test_explain_status_and_report_answer_from_the_records(home: Path) -> None:
    explained = zoo("explain", "odc", "imagenet_knn", "--suite", "smoke", home=home)
    assert "settings.temperature = 0.07" in explained.stdout
    assert "k20_top1 = " in explained.stdout
    assert re.search(r"\d+ done", zoo("status", "--suite", "smoke", home=home).stdout)
    assert "Feature1" in zoo("report", "--suite", "smoke", home=home).stdout


def test_tensorboard_mirrors_the_metrics(home: Path) -> None:
    pytest.importorskip("tensorboard")
    assert zoo("tensorboard", "--suite", "smoke", home=home).returncode == 0
    assert list(home.glob("models/odc-*/events/events*"))


def test_a_given_checkpoint_is_evaluated_under_its_own_name(home: Path) -> None:
    weights = next(home.glob("models/odc-*/backbone.safetensors"))
    words = ("run", "mine", "--checkpoint", str(weights), "--benchmarks", "imagenet_knn", "--suite", "smoke")
    done = zoo(*words, home=home)
    assert done.returncode == 0, done.stderr
    ours = result.read(next(home.glob("results/odc/imagenet_knn/*/result.json")))
    given = result.read(next(home.glob("results/mine/imagenet_knn/*/result.json")))
    assert [m.value for m in given.metrics] == [m.value for m in ours.metrics]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A suite file of a newcomer: a few images, a few seconds."""
    scenes.folder(tmp_path / "images", per_class=24)
    (tmp_path / "own.toml").write_text(
        "variant = 'smoke'\nimages = 'images/train'\nprotocols = ['imagenet_linear', 'imagenet_knn']\n"
        "[data]\nimagenet = 'images'\n[pretrain]\ninput.size = 16\ninput.resize = 16\n"
        "[odc]\nepochs = 1\nclusters = 6\nbatch_size = 16\nviews.0.size = 16\n[imagenet_linear]\nfeatures.epochs = 8\n"
    )
    return tmp_path


def run_own(own: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return zoo("run", "odc", "--all-benchmarks", "--suite", str(own / "own.toml"), *words, home=own / "out")


def test_a_damaged_image_fails_its_jobs_and_no_others(own: Path) -> None:
    (own / "images" / "val" / "class0" / "000.png").write_bytes(b"\x89PNG not really")
    done = run_own(own)
    assert done.returncode == 1
    assert "000.png cannot be decoded" in done.stderr
    states = {r.protocol["name"]: r.status for _, r in result.every(own / "out") if r.model["name"] == "odc"}
    assert states == {"pretrain": "ok", "imagenet_linear": "failed", "imagenet_knn": "failed"}
    assert "data-corrupt" in (own / "out" / "tables.md").read_text()


def test_killed_in_a_long_job_it_continues_from_its_own_last_epoch(own: Path) -> None:
    whole = run_own(own, "--set", "imagenet_linear.average.epochs=30")
    assert whole.returncode == 0, whole.stderr
    numbers = {
        m.name: m.value
        for m in result.read(next((own / "out").rglob("imagenet_linear/*/result.json"))).metrics
    }
    shutil.rmtree(own / "out" / "results")
    argv = [sys.executable, "-m", "zoo", "run", "odc", "--all-benchmarks", "--suite", str(own / "own.toml")]
    argv += ["--out", str(own / "out"), "--set", "imagenet_linear.average.epochs=30"]
    child = subprocess.Popen(argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (states := list((own / "out").rglob("imagenet_linear/*/work/state.pt"))):
        time.sleep(0.02)
        assert child.poll() is None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert states[0].exists()
    assert run_own(own, "--set", "imagenet_linear.average.epochs=30").returncode == 0
    again = {
        m.name: m.value
        for m in result.read(next((own / "out").rglob("imagenet_linear/*/result.json"))).metrics
    }
    assert again == numbers


def test_the_local_engine_gives_the_same_records(own: Path) -> None:
    assert run_own(own).returncode == 0
    local = zoo(
        "run",
        "odc",
        "--all-benchmarks",
        "--suite",
        str(own / "own.toml"),
        "--engine",
        "local",
        home=own / "local",
    )
    assert local.returncode == 0, local.stderr
    numbers = [
        {
            (r.model["name"], r.protocol["name"], m.name): m.value
            for _, r in result.every(own / place)
            for m in r.metrics
        }
        for place in ("out", "local")
    ]
    assert numbers[0] == numbers[1]


def test_several_seeds_show_their_mean_and_spread(own: Path) -> None:
    assert run_own(own, "--seeds", "0,1").returncode == 0
    assert " ± " in (own / "out" / "tables.md").read_text()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "odx", "--all-benchmarks"), 2, "unknown model 'odx' in suite demo; did you mean odc"),
        (("run", "odc", "--benchmarks", "knn"), 2, "unknown benchmark 'knn'"),
        (("run", "odc"), 2, "say either --all-benchmarks or --benchmarks"),
        (("run", "odc", "--all-benchmarks", "--set", "odc.x=1"), 2, "unknown setting 'x'"),
        (
            ("run", "odc", "--all-benchmarks", "--set", "odc.arch=resnet500"),
            2,
            "unknown arch 'resnet500'; did",
        ),
        (("run", "odc", "--all-benchmarks", "--set", "lr=1"), 2, "--set expects NAME.FIELD=VALUE"),
        (("run", "odc", "--all-benchmarks", "--seeds", "a"), 2, "--seeds expects whole numbers"),
        (("run", "odc", "--all-benchmarks", "--eval-seeds", "0-x"), 2, "--eval-seeds expects whole numbers"),
        (("run", "a", "--all-benchmarks", "--checkpoint", "x", "--as", "b"), 2, "--as names a model that"),
        (("run", "odc", "--all-benchmarks", "--suite", "no.toml"), 2, "suite file no.toml is not there"),
        (("run", "a/b", "--all-benchmarks", "--checkpoint", "x"), 2, "must be 1-80 letters"),
        (
            ("run", "a", "--all-benchmarks", "--checkpoint", "no.safetensors"),
            4,
            "no.safetensors is not there",
        ),
        (("report", "--suite", "smoke"), 4, "holds no model yet"),
    ],
)
def test_wrong_usage_gets_one_sentence(tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    done = zoo(*words, home=tmp_path / "out")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.returncode == code


def test_room_for_features_that_is_no_number_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_FEATURES_GB", "20 GB")
    done = zoo("run", "odc", "--all-benchmarks", "--suite", "smoke", home=tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ZOO_FEATURES_GB: expected gigabytes above 0, got '20 GB'")
    assert not (tmp_path / "out" / "models").exists()


def test_nothing_but_missing_data_is_exit_4(tmp_path: Path) -> None:
    done = zoo("run", "odc", "--all-benchmarks", "--suite", "paper", home=tmp_path)
    assert done.returncode == 4
    assert "expected layout" in done.stdout


def test_what_cannot_run_is_said_before_the_rest(tmp_path: Path) -> None:
    own = commands.suite(tmp_path, per_class=2, batch_size=500)
    done = commands.zoo(own, "run", "odc", "random", "--all-benchmarks")
    first, *rest = done.stderr.splitlines()
    assert "failed: odc pretrain: bad-config" in first
    assert any("random clustering: done" in line for line in rest)
