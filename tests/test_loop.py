"""A run is the same however often it is killed, and on every rank."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pretrain.base import dist
from pretrain.base.faults import Fault
from pretrain.base.settings import changed, override
from pretrain.data import dataset
from pretrain.nets import checkpoint
from pretrain.train import loop, optim, state
from pretrain.train.recipe import Cosine, Step
from tests import scenes
from tests.faults.hostile import flipped
from tests.train import digest, tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.folder(tmp_path_factory.mktemp("images"))


def train(images: Path, out: Path, kill_at: int = 0, processes: int = 1) -> subprocess.CompletedProcess[str]:
    launch = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        if processes > 1
        else []
    )
    argv = [sys.executable, *launch, "-m", "tests.train", str(images), str(out), "odc"]
    environment = {**os.environ, "KILL_AT": str(kill_at), "OMP_NUM_THREADS": "1"}
    out.mkdir(exist_ok=True)
    return subprocess.run(
        argv, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )


@pytest.mark.slow
@pytest.mark.case(1, 3)
def test_killed_twice_and_resumed_equals_never_killed(images: Path, tmp_path: Path) -> None:
    whole = train(images, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    for kill_at in (4, 8):  # within the second and the third epoch of three iterations
        assert train(images, tmp_path / "killed", kill_at).returncode == -9
    resumed = train(images, tmp_path / "killed")
    assert resumed.stdout == whole.stdout, resumed.stderr
    hashes = {
        checkpoint.describe(tmp_path / name / "backbone.safetensors").sha256 for name in ("whole", "killed")
    }
    assert len(hashes) == 1
    lines = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["iteration"] for line in lines]
    assert steps == list(range(1, 10))


@pytest.mark.slow
@pytest.mark.case(3, 19)
def test_two_processes_resume_exactly_and_keep_equal_memories(images: Path, tmp_path: Path) -> None:
    """REPLICAS are compared inside the run as well: a rank that differs ends it with an error."""
    whole = train(images, tmp_path / "whole", processes=2)
    assert whole.returncode == 0, whole.stderr
    assert train(images, tmp_path / "killed", 5, processes=2).returncode != 0
    resumed = train(images, tmp_path / "killed", processes=2)
    assert resumed.stdout == whole.stdout, resumed.stderr
    assert "state" in resumed.stdout


def fit(images: Path, out: Path, **changes: object) -> Path:
    split = dataset.find("imagenet").split(images, "train")
    recipe, _ = override(tiny("odc"), changes, "odc")
    return loop.fit("odc", recipe, split, out, 0, CPU, lambda *_: None)


@pytest.mark.case(11)
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_state(
    images: Path, tmp_path: Path
) -> None:
    fit(images, tmp_path, epochs=1)
    before = digest(tmp_path)
    with pytest.raises(Fault, match=r"loss is (nan|inf) at epoch 1, iteration \d") as raised:
        fit(images, tmp_path / "new", lr=1e30, check_every=0)
    assert raised.value.reason == "nan"
    assert not (tmp_path / "new" / "state.pt").exists()
    assert digest(tmp_path) == before


@pytest.mark.case(3)
def test_lines_of_a_sitting_that_saved_no_state_do_not_stand_there_twice(
    images: Path, tmp_path: Path
) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "iteration": 1}\n')
    fit(images, tmp_path, epochs=1)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3]


@pytest.mark.case(3)
def test_random_numbers_go_on_where_the_saved_state_left_them(images: Path, tmp_path: Path) -> None:
    """Dropout draws from them; the networks of the other tests have none."""
    split = dataset.find("imagenet").split(images, "train")
    run = state.begin("odc", tiny("odc"), split, tmp_path, 0, CPU, lambda *_: None)
    torch.rand(7)
    state.save(run)
    coming = torch.rand(5)
    state.begin("odc", tiny("odc"), split, tmp_path, 0, CPU, lambda *_: None)
    assert torch.equal(torch.rand(5), coming)


def test_state_of_another_recipe_is_refused(images: Path, tmp_path: Path) -> None:
    fit(images, tmp_path, epochs=1)
    with pytest.raises(Fault, match="another recipe or seed"):
        fit(images, tmp_path, epochs=2)


def test_state_of_other_images_is_refused(images: Path, tmp_path: Path) -> None:
    fit(images, tmp_path / "out", epochs=1)
    fewer = scenes.folder(tmp_path / "fewer", per_class=15)
    with pytest.raises(Fault, match=r"state.pt belongs to other images or labels than those of .*fewer"):
        fit(fewer, tmp_path / "out", epochs=1)


@pytest.mark.case(3)
def test_a_file_of_lines_that_was_cut_goes_on_behind_the_last_whole_one(images: Path, tmp_path: Path) -> None:
    fit(images, tmp_path, epochs=1)
    metrics = tmp_path / "metrics.jsonl"
    whole = metrics.read_text().splitlines()
    metrics.write_text("\n".join(whole)[:-20])
    fit(images, tmp_path, epochs=1)
    assert metrics.read_text().splitlines() == whole[:-1]


@pytest.mark.case(1)
def test_a_damaged_state_is_refused(images: Path, tmp_path: Path) -> None:
    fit(images, tmp_path, epochs=1)
    data = (tmp_path / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(
        Fault, match=r"state.pt cannot be read .*; delete it to start the run again"
    ) as raised:
        fit(images, tmp_path, epochs=1)
    assert raised.value.reason == "weights-corrupt"


@pytest.mark.case(6)
def test_a_state_with_a_flipped_bit_is_refused(images: Path, tmp_path: Path) -> None:
    """torch reads it as if nothing were."""
    fit(images, tmp_path, epochs=1)
    flipped(tmp_path / "state.pt")
    torch.load(tmp_path / "state.pt", weights_only=True)
    with pytest.raises(Fault, match=r"Bad CRC-32 .*; delete it to start the run again") as raised:
        fit(images, tmp_path, epochs=1)
    assert raised.value.reason == "weights-corrupt"


class Touching:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.case(34)
def test_a_planted_state_runs_nothing(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fit(images, out, epochs=1)
    state = torch.load(out / "state.pt", weights_only=True)
    torch.save({**state, "more": Touching(tmp_path / "ran")}, out / "state.pt")
    with pytest.raises(Fault, match=r"state.pt cannot be read \(Unsupported .*; delete it") as raised:
        fit(images, out, epochs=1)
    assert raised.value.reason == "weights-corrupt"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clusters": 49}, "49 clusters need at least as many images, not 48"),
        ({"batch_size": 64}, "a batch of 64 is more than the 48 images; lower 'batch_size'"),
    ],
)
def test_a_recipe_that_does_not_fit_the_data_is_refused_before_anything_is_written(
    images: Path, tmp_path: Path, changes: dict[str, int], said: str
) -> None:
    with pytest.raises(Fault, match=said) as raised:
        fit(images, tmp_path / "out", **changes)
    assert raised.value.reason == "bad-config"
    assert not (tmp_path / "out").exists()


def test_a_batch_that_processes_cannot_share_is_said(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dist, "world_size", lambda: 3)
    with pytest.raises(Fault, match="batch size 16 must be a multiple of 3 processes"):
        fit(images, tmp_path)


def test_supervised_needs_labels_of_single_classes() -> None:
    recipe = changed(tiny("supervised"), classes=2)
    recipe.fits(48, 2)
    with pytest.raises(Fault, match="the images have no labels of single classes to learn"):
        recipe.fits(48, 0)
    with pytest.raises(Fault, match="the images are of 3 classes, not 2; set 'classes'"):
        recipe.fits(48, 3)


def test_metrics_hold_what_people_watch(images: Path, tmp_path: Path) -> None:
    fit(images, tmp_path, epochs=1)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    watched = "loss lr images_per_s changed empty smallest largest nmi_previous ami_previous"
    assert {*watched.split(), "chance_nmi_previous"} <= set(last)


def test_learning_rates_of_the_published_schedules() -> None:
    odc, per_epoch = Step(milestones=(400,), gamma=0.4), 2503
    assert optim.factor(odc, 400 * per_epoch - 1, per_epoch, 440) == 1
    assert optim.factor(odc, 400 * per_epoch, per_epoch, 440) == pytest.approx(0.4)
    v2 = Cosine(warmup=10, start=0.3 / 4.8, final=0.0048 / 4.8)
    rates = [4.8 * optim.factor(v2, i, 312, 400) for i in (0, 3119, 3120, 124_799)]
    assert rates == pytest.approx([0.3, 4.8, 4.8, 0.0048], rel=1e-4)


@pytest.mark.parametrize(("seconds", "states"), [(0.0, [1, 2]), (3600.0, [])])
def test_states_within_an_epoch_are_written_by_the_clock(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, states: list[int]
) -> None:
    """At lines of metrics.jsonl; tests/contracts shows that a run goes on from them to the bit."""
    monkeypatch.setattr(state, "SAVE_SECONDS", seconds)
    split, seen = dataset.find("imagenet").split(images, "train"), list[int]()
    real = state.save

    def save(run: state.Run) -> None:
        seen.append(run.progress.iteration)
        real(run)

    monkeypatch.setattr(state, "save", save)
    loop.fit("odc", tiny("odc", 1), split, tmp_path, 0, CPU, lambda *_: None)
    assert seen == [*states, 0], "the last one is of the finished epoch"


def test_a_state_is_due_only_where_a_line_ends(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "SAVE_SECONDS", 0.0)
    split = dataset.find("imagenet").split(images, "train")
    recipe = changed(tiny("odc"), log_every=2)
    run = state.begin("odc", recipe, split, tmp_path, 0, CPU, lambda *_: None)
    found = []
    for run.progress.iteration in range(1, 5):
        found.append(state.due(run))
    assert found == [False, True, False, True]
