"""A run looks at its features after each epoch, says once what is wrong, and is not changed by it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pretrain.base import phase
from pretrain.base.settings import changed
from pretrain.cluster import health, kmeans
from pretrain.data import dataset
from pretrain.data.split import Split
from pretrain.train import loop, online, state
from pretrain.train.alarms import Alarms
from pretrain.train.state import Progress
from tests import gloo, scenes
from tests.train import digest, tiny
from zoo.plan.job import Job
from zoo.show.progress import Display
from zoo.suites.suite import Given

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Split:
    root = scenes.folder(tmp_path_factory.mktemp("images"), per_class=40)
    return dataset.find("imagenet").split(root, "train")


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "SHARE", 1e9)


def trained(name: str, split: Split, out: Path, epochs: int = 2) -> list[str]:
    """Lines that people see of a tiny run."""
    lines = list[str]()
    loop.fit(name, tiny(name, epochs), split, out, 0, CPU, lambda done, total, line: lines.append(line))
    return lines


def rows(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["odc", "swav"])
def test_a_look_changes_nothing(
    name: str, images: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, running statistics, optimiser, memories and random state, bit for bit."""
    trained(name, images, tmp_path / "on")
    monkeypatch.setenv(online.VARIABLE, "0")
    trained(name, images, tmp_path / "off")
    assert "rankme" in rows(tmp_path / "on")[-1]
    assert "rankme" not in rows(tmp_path / "off")[-1]
    assert digest(tmp_path / "on") == digest(tmp_path / "off")


def _buffers(split: Split, out: Path) -> tuple[float, bool]:
    recipe = changed(tiny("odc"), bn_group=4)  # statistics of each process its own
    run = state.begin("odc", recipe, split, out, 0, CPU, lambda *_: None)
    for batch in next(run.epochs()):
        loop.step(run, batch, run.at, 0.1)
        run.progress.iteration += 1
    before = [buffer.clone() for buffer in run.method.backbone.buffers()]
    found = online.Online(run).look(1)
    after = list(run.method.backbone.buffers())
    return found["rankme"], all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.slow
def test_processes_share_the_look_and_keep_their_statistics(images: Split, tmp_path: Path) -> None:
    (first, kept), (second, others) = gloo.run(_buffers, 2, tmp_path, images, tmp_path / "out")
    assert first == second
    assert kept
    assert others


def test_the_progress_line_tells_neighbours_and_rank(images: Split, tmp_path: Path) -> None:
    lines = trained("odc", images, tmp_path)
    last = rows(tmp_path)[-1]
    assert (
        f"knn {last['online_knn']:.1f} rank {last['rankme']:.0f}"
        in [x for x in lines if "epoch 2/2" in x][-1]
    )
    assert 0 <= last["online_knn"] <= 100


def test_images_without_labels_have_a_rank_alone(images: Split, tmp_path: Path) -> None:
    bare = Split(images.name, images.root, images.files, None, ())
    trained("odc", bare, tmp_path, epochs=1)
    assert "rankme" in rows(tmp_path)[-1]
    assert "online_knn" not in rows(tmp_path)[-1]


def test_few_images_are_looked_at_after_some_epochs(
    images: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of 200 images, one view: 0.05 * 3 * 200 / 200 = 0.15 looks an epoch, the second in the seventh."""
    monkeypatch.setattr(online, "SHARE", 0.05)
    trained("odc", images, tmp_path, epochs=8)
    assert [row["epoch"] for row in rows(tmp_path) if "rankme" in row] == [1, 7, 8]


def test_lines_do_not_depend_on_the_clock(images: Split, tmp_path: Path) -> None:
    """Times alone differ between two runs."""
    for name in ("one", "two"):
        trained("swav", images, tmp_path / name)
    timeless = [
        [
            {key: value for key, value in row.items() if key not in ("seconds", "images_per_s")}
            for row in rows(out)
        ]
        for out in (tmp_path / "one", tmp_path / "two")
    ]
    assert timeless[0] == timeless[1]


def test_neighbours_vote_by_hand() -> None:
    """Two axes as classes; the third query points the wrong way."""
    bank = torch.tensor([[1.0, 0.0]] * 30 + [[0.0, 1.0]] * 30)
    labels = torch.tensor([0] * 30 + [1] * 30)
    queries = torch.tensor([[2.0, 0.1], [0.1, 5.0], [1.0, 0.2], [0.0, 1.0]])
    assert online.knn(bank, labels, queries, torch.tensor([0, 1, 1, 1])) == 75


def test_rankme_counts_directions_and_the_mean_is_one() -> None:
    assert online.rankme(torch.eye(8)) == pytest.approx(8, rel=1e-4)
    assert online.rankme(torch.ones(50, 8)) == pytest.approx(1, abs=1e-4)
    # singular values 3 and 1, as shares 3/4 and 1/4: exp(entropy) = 4 / 3^(3/4)
    assert online.rankme(torch.tensor([[3.0, 0.0], [0.0, 1.0]])) == pytest.approx(4 / 3**0.75, rel=1e-4)


def test_few_images_of_few_classes_are_looked_at() -> None:
    labels = np.arange(50_000) % 1000
    ids = online.chosen(50_000, labels, 0)
    assert len(ids) == len(set(ids.tolist())) == online.IMAGES
    assert len(np.unique(labels[ids])) == online.CLASSES
    assert len(online.chosen(3000, None, 0)) == 600
    assert len(online.chosen(120, None, 0)) == 120


def test_guessing_is_said_after_three_epochs_and_once() -> None:
    alarms = Alarms(tiny("deepcluster"), Progress())
    guess = {"loss": math.log(6) + 0.001}
    assert [bool(alarms.epoch(dict(guess))) for _ in range(4)] == [False, False, True, True]
    row = guess | alarms.epoch(dict(guess))
    assert "the loss is that of guessing after 5 epochs; weaker colour" in alarms.new(row)
    assert alarms.new(row) == ""
    assert Alarms(tiny("deepcluster"), alarms.progress).epoch(dict(guess)), (
        "a run that was stopped goes on counting"
    )
    assert alarms.epoch({"loss": 1.0}) == {}
    assert alarms.epoch(dict(guess)) == {}, "the count begins anew"
    assert Alarms(tiny("swav"), Progress()).outputs == 0, "its prototypes may be guessed for long"


@pytest.mark.parametrize("name", ["coke", "deepcluster", "deepclusterv2", "invariance_propagation", "odc"])
def test_a_collapse_is_said_while_the_run_goes_on_and_once(
    name: str, images: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a limit above what three epochs can reach; SwAV reports alike."""
    monkeypatch.setattr(health, "RANK", 1e6)
    monkeypatch.setattr(health, "LARGEST", 2.0)
    lines = trained(name, images, tmp_path, epochs=3)
    (warned,) = (i for i, line in enumerate(lines) if line.startswith("warning: "))
    assert "features collapse" in lines[warned]
    assert lines[warned].count("; try ") == 1
    assert "epoch 2/3" in "".join(lines[warned:]), "after the first epoch, not at the end"
    assert sum("warning" in row for row in rows(tmp_path)) == 3, "each epoch's line has it"


def test_a_warning_is_shown_at_once_whatever_was_shown_last(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(1)
    with display.job(Job(Given("m"), None, 0)):
        display.report(1, 10, "epoch 1/1 loss 1")
        display.report(1, 10, "warning: clusters collapse")
    said = capsys.readouterr().err
    assert "warning: clusters collapse" in said
    assert "loss 1" not in said, "other lines come every 15 seconds"


def test_what_nobody_saw_start_has_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(1)
    display.ended(Job(Given("m"), None, 0, state="done"))
    assert "m pretrain: done\n" in capsys.readouterr().err


def test_long_work_between_steps_is_told(images: Split, tmp_path: Path) -> None:
    lines = trained("deepcluster", images, tmp_path, epochs=1)
    assert "features of all images: 120 of 120" in lines
    iterations = tiny("deepcluster").kmeans_iterations
    assert f"k-means, 6 clusters: {iterations} of {iterations}" in lines
    banks = trained("deepclusterv2", images, tmp_path / "v2", epochs=1)
    assert "first features of all images: 7 of 7" in banks


def test_nobody_is_told_of_a_clustering_outside_a_run() -> None:
    heard = list[int]()
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    with phase.heard(lambda what, done, total: heard.append(done)):
        kmeans.kmeans(x, 2, 3)
    kmeans.kmeans(x, 2, 3)
    assert heard == [1, 2, 3]
