"""A batch in parts: the outputs and gradients of the whole, with the memory of a part.

B images of a process, m of a part, V views. In a step
    first pass    part by part, without a graph: outputs of the whole batch, from which the method makes its
                  loss, codes over all of the batch included; backward as far as these outputs
    second pass   part by part, with a graph: backward from the part's share of that gradient
One forward pass more, a third of the time. Exact up to rounding where batch norms share statistics over no
more images than a part has: their groups are the same, and running statistics are those of the first group.
Dropout draws other masks, as it does on another number of processes. After Gao et al. 2021, arXiv 2101.06983.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from pretrain.base import dist
from pretrain.base.faults import Fault
from pretrain.base.numerics import autocast
from pretrain.nets.batch_norm import SplitBatchNorm
from pretrain.nets.recompute import untracked
from pretrain.train.recipe import Recipe


class Parts(nn.Module):
    """A network that takes `images` of a batch at a time. forward(views) as the network's; `backward` after
    that of the loss. net: wrapped for several processes where there are several.
    """

    def __init__(self, net: nn.Module, images: int, precision: str) -> None:
        super().__init__()
        self.net, self.images, self.precision = net, images, precision
        self._views = list[Tensor]()
        self._made = list[Tensor]()
        self._random = list[tuple[Tensor, ...]]()

    @property
    def bare(self) -> nn.Module:
        """The network itself."""
        net = self.net.module if isinstance(self.net, DistributedDataParallel) else self.net
        assert isinstance(net, nn.Module)
        return net

    def forward(self, views: list[Tensor]) -> tuple[Tensor, ...]:
        """Outputs (V*B, ...) of the whole batch, view by view; the gradient of the loss stops at them."""
        self._views, self._random = views, []
        rows = list[tuple[Tensor, ...]]()
        with torch.no_grad():
            for i, part in enumerate(self._parts()):
                self._random.append(_random(views[0].device))
                with self._grouped(remembers=i == 0):
                    rows.append(self.bare(part))
        # (V*m, ...) of each part -> (V*B, ...): all images of a view, then those of the next
        outputs = (
            torch.cat([x.unflatten(0, (-1, self.images)) for x in each], 1)
            for each in zip(*rows, strict=True)
        )
        self._made = [x.flatten(0, 1).requires_grad_() for x in outputs]
        return tuple(self._made)

    def backward(self) -> None:
        """Gradients of the weights, once the loss has left its own at the outputs. Processes add theirs up in
        the last part.
        """
        parts = list(self._parts())
        for i, (part, random) in enumerate(zip(parts, self._random, strict=True)):
            with ExitStack() as during:
                during.enter_context(_replayed(random, part[0].device))
                during.enter_context(self._grouped(remembers=False))
                if isinstance(self.net, DistributedDataParallel) and i + 1 < len(parts):
                    during.enter_context(self.net.no_sync())
                with autocast(part[0].device, self.precision):
                    outputs = self.net(part)
                torch.autograd.backward(*self._shares(outputs, i))
        self._views, self._made = [], []

    def _shares(self, outputs: tuple[Tensor, ...], i: int) -> tuple[list[Tensor], list[Tensor]]:
        """The outputs of part i that the loss has seen, and its gradients there."""
        mine = slice(i * self.images, (i + 1) * self.images)
        batch = len(self._views[0])
        pairs = [
            (x, whole.grad.unflatten(0, (-1, batch))[:, mine].flatten(0, 1))
            for x, whole in zip(outputs, self._made, strict=True)
            if whole.grad is not None and x.requires_grad
        ]
        return [x for x, _ in pairs], [gradient for _, gradient in pairs]

    def _parts(self) -> Iterator[list[Tensor]]:
        for pieces in zip(*(view.split(self.images) for view in self._views), strict=True):
            yield list(pieces)

    @contextmanager
    def _grouped(self, remembers: bool) -> Iterator[None]:
        """Batch norms that expect a part instead of all images of a process."""
        norms = [module for module in self.bare.modules() if isinstance(module, SplitBatchNorm)]
        whole = [norm.each for norm in norms]
        with ExitStack() as during:
            if not remembers:
                during.enter_context(untracked(self.bare))
            for norm in norms:
                norm.each = self.images
            try:
                yield
            finally:
                for norm, each in zip(norms, whole, strict=True):
                    norm.each = each


def in_parts(net: nn.Module, recipe: Recipe) -> nn.Module:
    """`net`, in parts where the recipe asks for parts smaller than what a process has of a batch.

    Raises Fault where the parts would give other numbers than the whole.
    """
    images, each = recipe.micro_batch, recipe.batch_size // dist.world_size()
    if not images or images >= each:
        return net
    said = f"micro_batch {images} "
    if each % images:
        raise recipe.misfit(
            f"{said}does not divide the {each} images of a process; choose a divisor of {each}"
        )
    for norm in (module for module in net.modules() if isinstance(module, _BatchNorm)):
        shared = norm.images if isinstance(norm, SplitBatchNorm) else each
        if images % shared:
            raise _inexact(
                recipe, f"{said}is not a whole number of groups of {shared} images that share batch-norm"
            )
    return Parts(net, images, recipe.precision)


def _inexact(recipe: Recipe, said: str) -> Fault:
    groups = [name for name in ("bn_group", "neck_bn_group") if hasattr(recipe, name)]
    return recipe.misfit(
        f"{said} statistics, so the numbers would change; set {' and '.join(groups)} to a divisor of it"
    )


def _random(device: torch.device) -> tuple[Tensor, ...]:
    """Random state: the CPU generator's, then the GPU's."""
    gpu = (torch.cuda.get_rng_state(device),) if device.type == "cuda" else ()
    return (torch.get_rng_state(), *gpu)


@contextmanager
def _replayed(random: tuple[Tensor, ...], device: torch.device) -> Iterator[None]:
    """The random state as it was, for as long as the block lasts."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(random[0])
        for state in random[1:]:
            torch.cuda.set_rng_state(state, device)
        yield
