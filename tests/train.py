"""Trains a tiny run and prints a digest of all that it leaves.

`python -m tests.train ROOT OUT METHOD [EPOCHS]`, or the same under torchrun: its first rank prints. With
KILL_AT=n in the environment the process kills itself at that iteration.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from pretrain.base import dist
from pretrain.base.settings import changed
from pretrain.data import dataset
from pretrain.train import loop
from pretrain.train.recipe import Cosine, EpochCosine, HeldCosine, Schedule
from zoo.suites.suite import recipes


def tiny(name: str, epochs: int = 3) -> Any:
    """The method's smoke recipe on 16-px images with a few clusters; DeepCluster-v2 as published: LARC, two
    sizes.
    """
    recipe = recipes(name)["smoke"][0]
    views = tuple(changed(view, size=16) for view in recipe.views)
    few = {
        "clusters": 6,
        "min_cluster": 2,
        "pca": 4,
        "prototypes": 6,
        "freeze": 2,
        "queue": 32,
        "queue_from": 1,
    }
    small = {name: value for name, value in few.items() if hasattr(recipe, name)}
    changes = {"views": views, "epochs": epochs, "batch_size": 16, "check_every": 1, "log_every": 1, **small}
    if name == "deepclusterv2":
        changes |= {"optimizer": "larc", "views": (*views, changed(views[0], size=8, count=1))}
    given = changed(recipe.input, size=16, resize=16)
    return changed(
        recipe, **changes, schedule=fitting(recipe.schedule, epochs), input=given, precision="fp32"
    )


def fitting(schedule: Schedule, epochs: int) -> Schedule:
    """The schedule without what lies beyond the epochs."""
    if isinstance(schedule, EpochCosine):
        return schedule
    if isinstance(schedule, HeldCosine):
        return changed(schedule, warmup=min(schedule.warmup, epochs - schedule.hold))
    if isinstance(schedule, Cosine):
        return changed(schedule, warmup=min(schedule.warmup, epochs))
    return changed(schedule, milestones=tuple(epoch for epoch in schedule.milestones if epoch <= epochs))


def digest(path: Path) -> str:
    """Hash of every tensor in a run's state: network, optimiser, memories, random state."""
    state = torch.load(path / "state.pt", weights_only=True)
    found = hashlib.sha256()

    def take(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                take(value[key])
        elif isinstance(value, list):
            for item in value:
                take(item)

    for part in ("net", "optimizer", "memories", "rng"):
        take(state[part])
    return found.hexdigest()[:16]


def main(root: str, out: str, name: str, epochs: str = "3") -> None:
    kill_at = int(os.environ.get("KILL_AT", "0"))

    def report(done: int, total: int, line: str) -> None:
        if kill_at and done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    with dist.group("cpu") as device:
        split = dataset.find("imagenet").split(Path(root), "train")
        loop.fit(name, tiny(name, int(epochs)), split, Path(out), 0, device, report)
        if dist.rank() == 0:
            print("state", digest(Path(out)))


if __name__ == "__main__":
    main(*sys.argv[1:])
