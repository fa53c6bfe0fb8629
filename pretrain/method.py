"""What a clustering method is to the training loop: a loss, and hooks in the order they are called.

N images, B batch. Memories (labels, centroids, banks) are plain tensors of the method, outside the network that DDP
wraps: nothing of them is re-broadcast at a forward, and their updates are the method's own business.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pretrain import folder
from pretrain.recipe import Recipe, View, centre_view

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pretrain.backbone import Backbone
    from pretrain.loader import Batch, Loader
    from pretrain.split import Split


@dataclass(frozen=True)
class Data:
    """The training images as hooks see them. labels: int64 (N,) on the device where the split has them."""

    split: Split
    recipe: Recipe
    seed: int
    device: torch.device
    labels: Tensor | None
    _loaders: dict[tuple[View, ...], Loader] = field(default_factory=dict, init=False, repr=False)

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch: images short of a batch are left out."""
        return max(1, len(self.split) // self.recipe.batch_size)

    def sweep(self, view: View | None = None, batch_size: int = 256) -> Iterator[Batch]:
        """This rank's contiguous share of all N images in id order, by default as evaluation sees them."""
        from pretrain import dist

        loader = self._loader([view or centre_view(self.recipe.input)])
        yield from loader.batches(share(len(self.split), dist.rank(), dist.world_size()), batch_size, epoch=0)

    def batches(
        self, order: npt.NDArray[np.int64], views: Sequence[View], epoch: int, first: int = 0
    ) -> Iterator[Batch]:
        """This rank's part of each batch of an epoch, from batch `first` on.

        A batch over all processes is the same ids in the same order whatever their number.
        """
        from pretrain import dist

        each = self.recipe.batch_size // dist.world_size()
        parts = order[: self.per_epoch * self.recipe.batch_size].reshape(self.per_epoch, dist.world_size(), each)
        yield from self._loader(views).batches(parts[first:, dist.rank()].reshape(-1), each, epoch)

    def _loader(self, views: Sequence[View]) -> Loader:
        """The loader of these views, kept: a small set is decoded once."""
        from pretrain.loader import open_loader

        key = tuple(views)
        if key not in self._loaders:
            self._loaders[key] = open_loader(self.split, key, self.recipe.input, self.seed, self.device)
        return self._loaders[key]


def derive(*parts: int) -> int:
    """A seed made of several numbers, such as the run's seed, the epoch and a purpose."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def share(n: int, rank: int, world: int) -> npt.NDArray[np.int64]:
    """Ids of a rank's contiguous block of n; blocks in rank order make up 0..n-1."""
    return np.arange(n * rank // world, n * (rank + 1) // world, dtype=np.int64)


class Method(ABC):
    """Base of every method. One subclass per file in pretrain/methods, built as cls(recipe, n, device, seed)."""

    backbone: Backbone
    net: nn.Module  # all that gradients train, the backbone included

    @abstractmethod
    def __init__(self, recipe: Any, n: int, device: torch.device, seed: int) -> None: ...

    @abstractmethod
    def loss(self, net: nn.Module, batch: Batch) -> Tensor:
        """Scalar loss of a batch; `net` is self.net, wrapped for several processes where there are several."""

    def start(self, data: Data) -> None:  # noqa: B027
        """Once, before the first epoch of a fresh run: initial clustering."""

    def before_epoch(self, epoch: int, data: Data) -> None:  # noqa: B027
        """Before each epoch: re-clustering."""

    def order(self, epoch: int, n: int, seed: int) -> npt.NDArray[np.int64]:
        """Sample ids of an epoch over all processes: a permutation, unless the method samples otherwise."""
        return np.random.default_rng((seed, epoch, 0)).permutation(n)

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:  # noqa: B027
        """Between the backward pass and the optimiser's step: drop gradients, or what the optimiser remembers."""

    def after_step(self, step: int) -> None:  # noqa: B027
        """After each optimiser step (counted from 1 over the whole run): memory updates."""

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups; a group's own `momentum` wins over the recipe's."""
        return [{"params": list(self.net.parameters())}]

    def state(self) -> dict[str, Tensor]:
        """Memories to save beside the network, so that a resumed run continues exactly."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:  # noqa: B027
        """Takes back what `state` gave."""

    def diagnostics(self) -> Mapping[str, float]:
        """Figures for metrics.jsonl at each logging interval."""
        return {}

    def epoch_diagnostics(self, data: Data) -> Mapping[str, float | str]:
        """Figures for metrics.jsonl after each epoch; "warning", if there is one, is also shown to people."""
        return {}

    def check(self) -> None:  # noqa: B027
        """Asserts the method's invariants; costs passes over the memories."""


def find(name: str) -> type[Method]:
    """The Method subclass that a file of pretrain/methods defines."""
    module = folder.load("pretrain.methods", name)
    own = [v for v in vars(module).values() if inspect.isclass(v) and v.__module__ == module.__name__]
    return next(v for v in own if issubclass(v, Method))


def recipes(name: str) -> dict[str, tuple[Recipe, ...]]:
    """Recipes of a method by variant: paper, demo, smoke; the first of a variant is its default."""
    module = folder.load("pretrain.methods", name)
    return {variant: getattr(module, variant.upper()) for variant in ("paper", "demo", "smoke")}


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Mixed precision of a recipe: bf16 autocast, or fp32 as it is."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """No gradients, eval mode, and rank 0's batch-norm statistics on every rank, for as long as the block lasts."""
    import torch

    from pretrain import dist

    for buffer in net.buffers():
        dist.broadcast_(buffer)
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        net.train()
