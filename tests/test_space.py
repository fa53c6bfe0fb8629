"""A plan says what it will write; a command warns where that is more than there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from benchmarks.contract.protocol import catalogue
from pretrain.base import registry
from pretrain.base.settings import changed
from pretrain.data.view import Input
from pretrain.nets import archs
from pretrain.train import method
from pretrain.train.recipe import Recipe
from tests import planned
from zoo.cli import app
from zoo.plan import space
from zoo.plan.planner import Planner
from zoo.suites.suite import Suite, Trained


@pytest.mark.parametrize(
    "arch", [name for name in space.MILLIONS if name not in ("resnet50w4", "resnet50w2")]
)
def test_weights_are_not_said_smaller_than_they_are(arch: str) -> None:
    net = archs.build(arch, Input(size=32, resize=32), 0)
    backbone = sum(p.numel() for p in net.parameters()) / 1e6
    assert backbone <= space.MILLIONS[arch] <= 4 * backbone + 150


def test_what_is_to_be_done_counts_and_what_is_done_does_not(suite: Suite, tmp_path: Path) -> None:
    planner = Planner(planned.request(suite, tmp_path))
    before = space.needed(planner.plan(), planner.datasets)
    pretraining, *_ = planner.plan()
    assert pretraining.entry.recipe.kept(100) > 100 * 4 * pretraining.entry.recipe.dim  # type: ignore[union-attr]
    planned.finish(suite, tmp_path)
    planner = Planner(planned.request(suite, tmp_path))
    plan = planner.plan()
    assert before > space.needed(plan, planner.datasets) == 0
    assert space.sentence(plan, planner.datasets) == ""
    assert space.needed(plan, planner.datasets, again=True) == before


def test_features_of_the_same_images_count_once(suite: Suite, tmp_path: Path) -> None:
    """k-NN and clustering read the same images of the same model."""
    planner = Planner(planned.request(suite, tmp_path))
    plan = planner.plan()
    both = replace(plan, jobs=tuple(j for j in plan if j.name in ("imagenet_knn", "clustering")))
    one = replace(plan, jobs=tuple(j for j in plan if j.name == "imagenet_knn"))
    images = sum(planner.datasets.identity(f"imagenet/{part}").images for part in ("train", "val"))
    assert space.needed(both, planner.datasets) == space.needed(one, planner.datasets) == 4 * 2048 * images


IMAGES = 1_281_167  # of ImageNet
FEW = 4096, 8192  # images, at which memories are weighed


@pytest.mark.parametrize("name", ["deepcluster", "swav", "coke", "invariance_propagation", "byol", "dino"])
def test_a_pretraining_is_not_said_smaller_than_its_states(name: str) -> None:
    """Two states, as one is written beside the last, and the backbone; memories grow with the images."""
    given = registry.load("pretrain.methods", name, "recipes").PAPER[0]
    given = changed(given, clusters=2048) if name == "deepcluster" else given
    given = changed(given, clusterings=(3000, 3500, 4000)) if name == "coke" else given
    few, more = (state_of(name, given, images) for images in FEW)
    state = few + (more - few) * (IMAGES - FEW[0]) / (FEW[1] - FEW[0])
    backbone = 94_000_000
    job = SimpleNamespace(entry=Trained(name, name, given), protocol=None, state="todo")
    datasets = SimpleNamespace(
        suite=SimpleNamespace(pretrained_on="x"), identity=lambda _: SimpleNamespace(images=IMAGES)
    )
    said = space.pretraining(job, datasets)  # type: ignore[arg-type]
    assert 2 * state + backbone <= said <= 1.5 * (2 * state + backbone)


def state_of(name: str, given: Recipe, images: int) -> int:
    """Bytes of the network, its momenta and the memories of so many images."""
    made = method.find(name)(given, images, 0)
    moving = [p for g in made.groups() if g.get("momentum", given.momentum) for p in g["params"]]
    return sum(t.nbytes for t in (*made.net.state_dict().values(), *moving, *made.memories().values()))


def test_heads_and_grids_leave_states_of_their_size() -> None:
    paper = catalogue("paper")
    datasets = SimpleNamespace(identity=lambda _: SimpleNamespace(classes=8142))
    job = SimpleNamespace(entry=None)
    values = 9216 + 9216 + 8192 + 9216 + 8192 + 2 * 2048
    heads = space.evaluating(job, paper["inat18_linear"], datasets)  # type: ignore[arg-type]
    assert 2 * 2 * 4 * 8142 * values <= heads <= 1.1 * 2 * 2 * 4 * 8142 * values
    grid = space.evaluating(job, paper["imagenet_1pct"], datasets)  # type: ignore[arg-type]
    assert grid >= 10 * 2 * 4 * 25_557_032


@pytest.mark.case(13)
@pytest.mark.slow
def test_a_command_warns_before_it_starts(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "free", lambda folder: 2**20)
    suite = tmp_path / "own.toml"
    suite.write_text(
        f"variant = 'smoke'\nprotocols = ['imagenet_knn']\nbeside = []\n[data]\nimagenet = '{digits / 'imagenet'}'\n"
    )
    words = ["random", "--all-benchmarks", "--suite", str(suite), "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(app, ["run", *words])
    assert found.exit_code == 0, found.output
    assert "the disk may be too small: about" in found.output
    said = (
        CliRunner().invoke(app, ["run", *words[:2], *words[2:], "--overwrite", "always", "--dry-run"]).output
    )
    assert "1 MiB are free" in said
