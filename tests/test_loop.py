"""A run is the same however often it is killed, and on every rank."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pretrain import checkpoint, folder, loop, optim
from pretrain.faults import Fault
from pretrain.recipe import Cosine, Step, override
from tests import scenes
from tests.train import digest, tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.folder(tmp_path_factory.mktemp("images"))


def train(images: Path, out: Path, kill_at: int = 0, processes: int = 1) -> subprocess.CompletedProcess[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    argv = [sys.executable, *launch, "-m", "tests.train", str(images), str(out), "odc"]
    environment = {**os.environ, "KILL_AT": str(kill_at), "OMP_NUM_THREADS": "1"}
    out.mkdir(exist_ok=True)
    return subprocess.run(argv, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[1])


def test_killed_twice_and_resumed_equals_never_killed(images: Path, tmp_path: Path) -> None:
    whole = train(images, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    for kill_at in (4, 8):  # within the second and the third epoch of three iterations
        assert train(images, tmp_path / "killed", kill_at).returncode == -9
    resumed = train(images, tmp_path / "killed")
    assert resumed.stdout == whole.stdout, resumed.stderr
    hashes = {checkpoint.describe(tmp_path / name / "backbone.safetensors").sha256 for name in ("whole", "killed")}
    assert len(hashes) == 1
    lines = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["iteration"] for line in lines]
    assert steps == list(range(1, 10))


def test_two_processes_resume_exactly_and_keep_equal_memories(images: Path, tmp_path: Path) -> None:
    """REPLICAS are compared inside the run as well: a rank that differs ends it with an error."""
    whole = train(images, tmp_path / "whole", processes=2)
    assert whole.returncode == 0, whole.stderr
    assert train(images, tmp_path / "killed", 5, processes=2).returncode != 0
    resumed = train(images, tmp_path / "killed", processes=2)
    assert resumed.stdout == whole.stdout, resumed.stderr
    assert "state" in resumed.stdout


def fit(images: Path, out: Path, **changes: object) -> Path:
    split = folder.load("pretrain.datasets", "imagenet").split(images, "train")
    out.mkdir(exist_ok=True)
    return loop.fit("odc", override(tiny("odc"), changes, "odc"), split, out, 0, CPU, lambda *_: None)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_state(images: Path, tmp_path: Path) -> None:
    fit(images, tmp_path, epochs=1)
    before = digest(tmp_path)
    with pytest.raises(Fault, match=r"loss is (nan|inf) at epoch 1, iteration \d") as raised:
        fit(images, tmp_path / "new", lr=1e30, check_every=0)
    assert raised.value.reason == "nan"
    assert not (tmp_path / "new" / "state.pt").exists()
    assert digest(tmp_path) == before


def test_state_of_another_recipe_is_refused(images: Path, tmp_path: Path) -> None:
    fit(images, tmp_path, epochs=1)
    with pytest.raises(Fault, match="another recipe or seed"):
        fit(images, tmp_path, epochs=2)


def test_more_clusters_than_images_is_said(images: Path, tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"49 clusters need at least as many images; .* has 48"):
        fit(images, tmp_path, clusters=49)


def test_batch_larger_than_the_data_is_said(images: Path, tmp_path: Path) -> None:
    with pytest.raises(Fault, match="at most the 48 images"):
        fit(images, tmp_path, batch_size=64)


def test_metrics_hold_what_people_watch(images: Path, tmp_path: Path) -> None:
    fit(images, tmp_path, epochs=1)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    wanted = {"loss", "lr", "images_per_s", "changed", "empty", "smallest", "largest", "nmi_previous", "ami_previous"}
    assert wanted | {"chance_nmi_previous"} <= set(last)


def test_learning_rates_of_the_published_schedules() -> None:
    odc, per_epoch = Step(milestones=(400,), gamma=0.4), 2503
    assert optim.factor(odc, 400 * per_epoch - 1, per_epoch, 440) == 1
    assert optim.factor(odc, 400 * per_epoch, per_epoch, 440) == pytest.approx(0.4)
    v2 = Cosine(warmup=10, start=0.3 / 4.8, final=0.0048 / 4.8)
    rates = [4.8 * optim.factor(v2, i, 312, 400) for i in (0, 3119, 3120, 124_799)]
    assert rates == pytest.approx([0.3, 4.8, 4.8, 0.0048], rel=1e-4)
