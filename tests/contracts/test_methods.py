"""What every file of pretrain/methods must do: repeat, train all of the backbone, survive a kill, agree over
ranks.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pretrain.base import dist, registry
from pretrain.base.settings import build, plain
from pretrain.data import dataset
from pretrain.data.split import Split
from pretrain.nets import checkpoint
from pretrain.train import loop, method, state
from pretrain.train.method import At
from pretrain.train.recipe import Recipe
from tests import gloo, scenes
from tests.train import digest, tiny
from zoo.suites.suite import METHODS, VARIANTS, recipes

CPU = torch.device("cpu")
TRAINED = [name for name in registry.names(METHODS) if recipes(name)["smoke"][0].epochs]
QUICK = "odc"  # the one whose costly tests are not slow
OVER_RANKS = [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TRAINED]
KILLED_AT = 6  # of nine iterations; the last state is that of iteration 5, in the middle of the second epoch


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Split:
    root = scenes.folder(tmp_path_factory.mktemp("images"), per_class=17)
    return dataset.find("imagenet").split(root, "train")


@pytest.fixture(scope="module")
def whole(images: Split, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of every method."""
    out = {name: tmp_path_factory.mktemp(name) for name in TRAINED}
    for name, place in out.items():
        loop.fit(name, tiny(name), images, place, 0, CPU, lambda *_: None)
    return out


@pytest.mark.parametrize("name", registry.names(METHODS))
def test_recipes_are_complete(name: str) -> None:
    variants = recipes(name)
    names = [recipe.name for variant in variants.values() for recipe in variant]
    assert {"paper", "photos", "demo", "smoke"} <= set(variants) <= set(VARIANTS)
    assert all(variants.values()), "paper, demo and smoke each need a recipe"
    assert len(set(names)) == len(names)
    assert issubclass(method.find(name), method.Method)
    for recipe in (r for variant in variants.values() for r in variant):
        assert isinstance(recipe, Recipe)
        assert recipe.views[0].size >= recipe.views[-1].size, "large crops come first"
        assert ("sobel" in (recipe.config or recipe.name)) == recipe.input.sobel, "what the page says"


@pytest.mark.parametrize("name", registry.names(METHODS))
def test_recipes_survive_their_json(name: str) -> None:
    for recipe in (r for variant in recipes(name).values() for r in variant):
        assert build(type(recipe), json.loads(json.dumps(plain(recipe))), name) == recipe


def _train_until_killed(name: str, images: Split, out: Path) -> None:
    def report(done: int, total: int, line: str) -> None:
        if done == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    state.SAVE_SECONDS = 0
    loop.fit(name, tiny(name), images, out, 0, CPU, report)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.case(3)
def test_a_killed_and_resumed_run_equals_one_that_was_not(
    name: str, images: Split, whole: dict[str, Path], tmp_path: Path
) -> None:
    """Weights, memories, labels, optimiser and random state, bit for bit; hence also: the same seed, the same
    run.
    """
    process = multiprocessing.get_context("fork").Process(
        target=_train_until_killed, args=(name, images, tmp_path)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert torch.load(tmp_path / "state.pt", weights_only=True)["progress"]["iteration"] == 2
    loop.fit(name, tiny(name), images, tmp_path, 0, CPU, lambda *_: None)
    assert digest(tmp_path) == digest(whole[name])
    hashes = {checkpoint.describe(out / "backbone.safetensors").sha256 for out in (tmp_path, whole[name])}
    assert len(hashes) == 1


@pytest.mark.parametrize("name", TRAINED)
def test_every_weight_of_the_backbone_gets_a_gradient(name: str, images: Split, tmp_path: Path) -> None:
    run = state.begin(name, tiny(name), images, tmp_path, 0, CPU, lambda *_: None)
    batch = next(next(run.epochs()))
    loss = run.method.loss(run.net, batch, At(0, 0))
    loss.value.backward()
    for weight_name, weight in run.method.backbone.named_parameters():
        assert weight.grad is not None, f"{weight_name} has no gradient"
        assert bool(weight.grad.isfinite().all()), weight_name
        assert bool(weight.grad.any()), f"the gradient of {weight_name} is zero"


def _train_on_a_rank(name: str, images: Split, out: Path) -> dict[str, Tensor]:
    recipe = tiny(name)
    run = state.begin(name, recipe, images, out, 0, CPU, lambda *_: None)
    for batches in run.epochs():
        for batch in batches:
            loop.step(run, batch, run.at, recipe.lr)
            run.progress.iteration += 1
        run.method.after_epoch(run.progress.epoch)
    for key, tensor in run.method.memories().items():
        dist.assert_replicated(tensor, key)
    return {**run.method.memories(), **dict(run.method.net.named_parameters())}


@pytest.mark.parametrize("name", OVER_RANKS)
@pytest.mark.case(45)
def test_two_processes_hold_the_same_memories_and_weights(name: str, images: Split, tmp_path: Path) -> None:
    first, second = gloo.run(_train_on_a_rank, 2, tmp_path, name, images, tmp_path)
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), f"{name}: '{key}' differs between two processes"
        assert bool(tensor.isfinite().all()), key


class StoppedError(Exception):
    """Ends a run between two steps."""


def _train_until_stopped(name: str, images: Split, out: Path) -> None:
    def report(done: int, total: int, line: str) -> None:
        if done == KILLED_AT:
            raise StoppedError

    with pytest.raises(StoppedError):
        loop.fit(name, tiny(name), images, out, 0, CPU, report)


def _finish(name: str, images: Split, out: Path) -> int:
    loop.fit(name, tiny(name), images, out, 0, CPU, lambda *_: None)
    return dist.world_size()


@pytest.mark.parametrize("name", ["odc", pytest.param("deepclusterv2", marks=pytest.mark.slow)])
def test_what_one_process_has_begun_two_can_finish(
    name: str, images: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the middle of the second epoch; that replicas stay equal is asserted by the loop."""
    monkeypatch.setattr(state, "SAVE_SECONDS", 0)
    _train_until_stopped(name, images, tmp_path)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["progress"]["iteration"] == 2
    assert gloo.run(_finish, 2, tmp_path, name, images, tmp_path) == [2, 2]
    assert torch.load(tmp_path / "state.pt", weights_only=True)["progress"]["epoch"] == 3
    assert len(torch.load(tmp_path / "state.pt", weights_only=True)["rng"]) == 2
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == list(range(1, 10))
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert checkpoint.describe(tmp_path / "backbone.safetensors").origin["epochs"] == 3


def test_methods_are_registered_by_their_file_alone() -> None:
    assert set(registry.names(METHODS)) >= {
        "odc", "deepcluster", "deepclusterv2", "swav", "random", "supervised"
    }  # fmt: skip
