"""A slow copy of a network, which teaches it: weights that follow by an exponential moving average.

    w' <- m w' + (1 - m) w      after every step, w the network's weights and w' the teacher's

A teacher is tensors alone, and runs in the very network that they are of: which images share batch-norm
statistics is the network's affair. The tensors are buffers, so that they are saved, restored and compared
between processes as every memory is. Batch norms take the statistics of what the teacher is given; its
running ones are those of its own passes, on every process those of the first. It takes the whole batch of a
process at once: without a gradient that is little.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pretrain.base import dist


class Teacher(nn.Module):
    """Copies of all weights and buffers of a network, by their names with / for every dot."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._followed = [name for name, _ in net.named_parameters()]
        self._own = [name for name, _ in net.named_buffers()]
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
            self.register_buffer(name.replace(".", "/"), tensor.detach().clone(memory_format=layout))

    @torch.no_grad()
    def forward(self, net: nn.Module, views: list[Tensor]) -> tuple[Tensor, ...]:
        """What `net`, or one of the same names, makes of views with these weights."""
        made: tuple[Tensor, ...] = functional_call(net, self.tensors(), (views,))
        return made

    @torch.no_grad()
    def follow(self, net: nn.Module, momentum: float) -> None:
        """The share 1 - momentum of the way to the weights of `net`; with 0 it becomes their copy."""
        ours = self.tensors()
        theirs = dict(net.named_parameters())
        torch._foreach_lerp_(
            [ours[name] for name in self._followed],
            [theirs[name].detach() for name in self._followed],
            1 - momentum,
        )
        if dist.world_size() > 1:
            _take_the_first([ours[name] for name in self._own if ours[name].is_floating_point()])

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by the names of the network."""
        return {name: self.get_buffer(name.replace(".", "/")) for name in (*self._followed, *self._own)}


def rising(first: float, done: float) -> float:
    """A momentum that rises from `first` to 1 by half a cosine, where the share `done` of all steps is over
    (BYOL).
    """
    return 1 - (1 - first) * (1 + math.cos(math.pi * done)) / 2


def _take_the_first(tensors: list[Tensor]) -> None:
    """Overwrites tensors by those of the first process, in one message."""
    if not tensors:  # as a network without batch norms has
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    parts = dist.broadcast_(flat).split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))
