"""Two processes take the steps of one: the same losses, the same gradients, whatever their images weigh."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pretrain.base import dist, registry
from pretrain.base.settings import changed
from pretrain.data import dataset
from pretrain.data.split import Split
from pretrain.train import loop, state
from tests import gloo, scenes
from tests.train import tiny
from zoo.suites.suite import METHODS, recipes

TRAINED = [name for name in registry.names(METHODS) if recipes(name)["smoke"][0].epochs]
WEIGHED = ("odc", "deepclusterv2")  # whose images do not all count alike
NAMES = [name if name in WEIGHED else pytest.param(name, marks=pytest.mark.slow) for name in TRAINED]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """54 of them, six more than the batches of an epoch: DeepCluster-v2 has no label for those."""
    root = scenes.folder(tmp_path_factory.mktemp("images"), per_class=18)
    return dataset.find("imagenet").split(root, "train")


def steps(name: str, images: Split, out: Path) -> dict[str, Tensor]:
    """Loss of each step of two epochs, and the gradients, at weights that stay where they are.

    Rounding moves nothing then; a dropout of its own on every process would.
    """
    given = tiny(name, epochs=2)
    given = changed(given, **({"dropout": 0.0} if hasattr(given, "dropout") else {}))
    run = state.begin(name, given, images, out, 0, torch.device("cpu"), lambda *_: None)
    found = {}
    for epoch, batches in enumerate(run.epochs()):
        for batch in batches:
            at = f"epoch {epoch}, step {run.progress.iteration}"
            found[f"{at}: loss"] = (
                dist.all_reduce_sum_(loop.step(run, batch, run.at, 0.0).value.detach()) / dist.world_size()
            )
            run.progress.iteration += 1
            grads = [weight.grad for weight in run.method.net.parameters() if weight.grad is not None]
            found[f"{at}: gradient"] = torch.cat([grad.flatten() for grad in grads])
        run.method.after_epoch(epoch)
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.case(45)
def test_two_processes_take_the_steps_of_one(name: str, images: Split, tmp_path: Path) -> None:
    alone = steps(name, images, tmp_path / "one")
    both, _ = gloo.run(steps, 2, tmp_path, name, images, tmp_path / "two")
    assert alone.keys() == both.keys()
    assert len(alone) == 12
    for key, value in alone.items():
        apart = float((both[key] - value).norm() / value.norm())
        limit = 1e-4 if key.endswith("loss") else 3e-2  # rounding, much of it in the batch norms' gradients
        assert apart < limit, f"{key} differs by {apart:.1e} of it"
