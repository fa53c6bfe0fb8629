"""Trains a tiny run and prints a digest of all that it leaves: `python -m tests.train ROOT OUT METHOD [EPOCHS]`.

Under torchrun every rank prints its own labels' digest. With KILL_AT=n the process kills itself at that iteration.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pretrain import dist, folder, loop, method


def tiny(name: str, epochs: int = 3) -> Any:
    """The method's smoke recipe on 16-px images with a few clusters; DeepCluster-v2 as published: LARC, two sizes."""
    recipe = method.recipes(name)["smoke"][0]
    views = tuple(replace(view, size=16) for view in recipe.views)
    few = {"clusters": 6, "min_cluster": 2, "pca": 4, "prototypes": 6, "freeze": 2, "queue": 32, "queue_from": 1}
    small = {name: value for name, value in few.items() if hasattr(recipe, name)}
    changes = {"views": views, "epochs": epochs, "batch_size": 16, "check_every": 1, "log_every": 1, **small}
    if name == "deepclusterv2":
        changes |= {"optimizer": "larc", "views": (*views, replace(views[0], size=8, count=1))}
    return replace(recipe, **changes, input=replace(recipe.input, size=16, resize=16), precision="fp32")


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

    for part in ("net", "optimizer", "method", "rng"):
        take(state[part])
    return found.hexdigest()[:16]


def main(root: str, out: str, name: str, epochs: str = "3") -> None:
    kill_at = int(os.environ.get("KILL_AT", "0"))

    def report(done: int, total: int, line: str) -> None:
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    device = dist.start("cpu")
    split = folder.load("pretrain.datasets", "imagenet").split(Path(root), "train")
    loop.fit(name, tiny(name, int(epochs)), split, Path(out), 0, device, report)
    if dist.rank() == 0:
        print("state", digest(Path(out)))
    dist.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
