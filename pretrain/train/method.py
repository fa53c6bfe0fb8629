"""What a clustering method is to the training loop: a loss, and hooks in the order they are called.

N images, B batch. A method is a module: its network `net` is what gradients train, its memories (labels,
centroids, banks) are its buffers. DDP wraps `net` alone, so nothing of a memory is re-broadcast at a forward;
memories are saved and restored with the run, and compared between processes, because they are buffers: a
method writes no code for it.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pretrain.base import dist, phase, registry
from pretrain.data.augment import Samples, in_order
from pretrain.data.loader import Batch, Loader, open_loader
from pretrain.data.split import Split
from pretrain.data.view import View, centre_view
from pretrain.nets.backbone import Backbone
from pretrain.nets.clusters import Clustering
from pretrain.train.recipe import Recipe


class At(NamedTuple):
    """Where a run stands: epochs finished and optimiser steps taken so far, both 0 at the start."""

    epoch: int
    step: int


class Loss(NamedTuple):
    """value: scalar to be minimised; seen: tensors of this step
    that `after_step` needs, such as ids and features.
    """

    value: Tensor
    seen: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class TrainingData:
    """The training images as hooks see them. labels: int64 (N,) on the device where the split has them."""

    split: Split
    recipe: Recipe
    seed: int
    device: torch.device
    labels: Tensor | None
    _loaders: dict[tuple[View, ...], Loader] = field(default_factory=dict, init=False, repr=False)

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return self.recipe.per_epoch(len(self.split))

    def sweep(self, view: View | None = None, batch_size: int = 256) -> Iterator[Batch]:
        """This rank's contiguous share of all N images in id order, by default as evaluation sees them."""
        loader = self._loader([view or centre_view(self.recipe.input)])
        ours, done = share(len(self.split), dist.rank(), dist.world_size()), 0
        for batch in loader.batches(ours, batch_size, epoch=0):
            yield batch
            done += len(batch.index)
            phase.went("features of all images", done, len(ours))

    def first(self, batch_size: int, many: int) -> Iterator[Batch]:
        """This rank's part of up to `many` whole batches in id order, as evaluation sees them.

        A batch over all processes is the same images whatever their number, but for what they cannot share.
        """
        world, n = dist.world_size(), len(self.split)
        each = min(batch_size, n) // world
        whole = np.arange(min(many, n // (each * world)) * each * world).reshape(-1, world, each)
        loader = self._loader([centre_view(self.recipe.input)])
        for i, batch in enumerate(loader.batches(whole[:, dist.rank()].reshape(-1), each, epoch=0)):
            yield batch
            phase.went("first statistics of the network", i + 1, len(whole))

    def batches(
        self, order: npt.NDArray[np.int64], views: Sequence[View], epoch: int, first: int = 0
    ) -> Iterator[Batch]:
        """This rank's part of each batch of an epoch, from batch `first` on.

        A batch over all processes is the same ids in the same order whatever their number.
        """
        each = self.recipe.batch_size // dist.world_size()
        shape = self.per_epoch, dist.world_size(), each
        whole = np.resize(order, self.per_epoch * self.recipe.batch_size)  # cut, or filled up from its start
        ours = (part.reshape(shape)[first:, dist.rank()].reshape(-1) for part in in_order(whole))
        for i, batch in enumerate(self._loader(views).batches(Samples(*ours), each, epoch)):
            yield batch
            if epoch < 0:  # before the first step
                phase.went("first features of all images", first + i + 1, self.per_epoch)

    def _loader(self, views: Sequence[View]) -> Loader:
        """The loader of these views, kept: a small set is decoded once."""
        key = tuple(views)
        if key not in self._loaders:
            self._loaders[key] = open_loader(self.split, key, self.recipe.input, self.seed, self.device)
        return self._loaders[key]


class Method(nn.Module, ABC):
    """Base of every method. One subclass per pretrain/methods/<name>/method.py, built as cls(recipe, n,
    seed).

    Construction happens on the CPU; the loop moves the whole to its device.
    """

    net: nn.Module  # all that gradients train, the backbone included

    @abstractmethod
    def __init__(self, recipe: Any, n: int, seed: int) -> None:
        super().__init__()

    @abstractmethod
    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        """The loss of a batch; `net` is self.net, wrapped for several processes where there are several."""

    def start(self, data: TrainingData) -> None:
        """Once, before the first epoch of a fresh run: initial clustering."""

    def before_epoch(self, epoch: int, data: TrainingData) -> None:
        """Before each epoch: re-clustering."""

    def order(self, epoch: int, n: int, seed: int) -> npt.NDArray[np.int64]:
        """Sample ids of an epoch over all processes: a permutation, unless the method samples otherwise."""
        return np.random.default_rng((seed, epoch, 0)).permutation(n)

    def before_step(self, at: At, optimizer: torch.optim.Optimizer) -> None:
        """Between the backward pass and the optimiser's step:
        drop gradients, or what the optimiser remembers.
        """

    def after_step(self, at: At, *seen: Tensor) -> None:
        """After an optimiser step, with what its loss had seen: memory updates. `at` as the loss was told."""

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups; a group's own `momentum` wins over the recipe's."""
        return [{"params": list(self.net.parameters())}]

    def diagnostics(self) -> Mapping[str, float]:
        """Figures for metrics.jsonl at each logging interval. Changes nothing."""
        return {}

    def epoch_diagnostics(self, data: TrainingData, at: At, last: Loss) -> Mapping[str, float | str]:
        """Figures for metrics.jsonl after each epoch; "warning", if there is one, is also shown. Changes
        nothing.

        at, last: the epoch's last step and its loss, still on the device.
        """
        return {}

    def after_epoch(self, epoch: int) -> None:
        """After each epoch and its diagnostics: what is remembered until the next."""

    def check(self) -> None:
        """Asserts the method's invariants; costs passes over the memories."""

    def clustering(self) -> Clustering | None:
        """How features of images never seen become clusters; it is kept beside the backbone. None: not at
        all.
        """
        return None

    @property
    def backbone(self) -> Backbone:
        """The part of `net` that is trained for its features."""
        return next(module for module in self.net.modules() if isinstance(module, Backbone))

    @property
    def result(self) -> Backbone:
        """The backbone that is kept: by default the one that is trained."""
        return self.backbone

    @property
    def device(self) -> torch.device:
        """Where the method lives."""
        return next(self.net.parameters()).device

    def memories(self) -> dict[str, Tensor]:
        """Every buffer that is not the network's, by its dotted name."""
        return {name: buffer for name, buffer in self.named_buffers() if not name.startswith("net.")}

    def restore(self, memories: Mapping[str, Tensor]) -> None:
        """Takes back what `memories` gave; a buffer may have grown
        since construction. Raises KeyError on others.
        """
        if set(memories) != set(self.memories()):
            raise KeyError(f"memories {sorted(set(memories) ^ set(self.memories()))} do not match")
        for name, value in memories.items():
            owner, _, buffer = name.rpartition(".")
            setattr(self.get_submodule(owner), buffer, value)


def head_apart(net: nn.Module, head: nn.Module, momentum: float) -> list[dict[str, Any]]:
    """Two parameter groups: all but the head, and the head with a momentum of its own."""
    own = {id(p) for p in head.parameters()}
    rest = [p for p in net.parameters() if id(p) not in own]
    return [{"params": rest}, {"params": list(head.parameters()), "momentum": momentum}]


def derive(*parts: int) -> int:
    """A seed made of several numbers, such as the run's seed, the epoch and a purpose."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def share(n: int, rank: int, world: int) -> npt.NDArray[np.int64]:
    """Ids of a rank's contiguous block of n; blocks in rank order make up 0..n-1."""
    return np.arange(n * rank // world, n * (rank + 1) // world, dtype=np.int64)


def find(name: str) -> type[Method]:
    """The Method subclass that pretrain/methods/<name>/method.py defines."""
    module = registry.load("pretrain.methods", name, "method")
    own = [v for v in vars(module).values() if inspect.isclass(v) and v.__module__ == module.__name__]
    return next(v for v in own if issubclass(v, Method))


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """No gradients, eval mode, and rank 0's batch-norm
    statistics on every rank, for as long as the block lasts.
    """
    for buffer in net.buffers():
        dist.broadcast_(buffer)
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        net.train()
