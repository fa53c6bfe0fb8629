"""Which images share batch-norm statistics while a network trains: as many as the recipe says, on any number
of processes, so that their number changes no result.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as tdist
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.nn.modules._functions import SyncBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm

from pretrain.base import dist
from pretrain.base.faults import Fault


class BatchNorm1dOf(nn.BatchNorm1d):
    """Batch norm over (B, D) that has a number of images of its own, whatever the rest of the network has."""

    def __init__(self, dim: int, images: int, momentum: float, affine: bool) -> None:
        super().__init__(dim, momentum=momentum, affine=affine)
        self.images = images


class SplitBatchNorm(_BatchNorm):
    """Statistics over `images` images where a process has `each` of them: a part at a time.

    A batch (V * each, C, ...) holds V views, one after the other; a part has all views of its images. The
    running statistics are those of the first part, as several processes keep those of the first. A batch that
    is not of whole views is one part.
    """

    def __init__(self, norm: _BatchNorm, images: int, each: int) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.load_state_dict(norm.state_dict(), assign=True)
        self.images, self.each = images, each

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or len(input) % self.each:
            return super().forward(input)
        views = len(input) // self.each
        parts = input.unflatten(0, (views, -1, self.images)).unbind(1)
        first = super().forward(parts[0].flatten(0, 1))
        others = (self._normalised(part.flatten(0, 1)) for part in parts[1:])
        made = [part.unflatten(0, (views, -1)) for part in (first, *others)]
        return torch.cat(made, 1).flatten(0, 1)

    def _normalised(self, x: Tensor) -> Tensor:
        return nnf.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


class _GroupSum(torch.autograd.Function):
    """The sum of a tensor over a group of processes. Each has a loss of its own behind it, so that gradients
    are summed, too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: tdist.ProcessGroup) -> Tensor:
        ctx.group, out = group, x.clone()
        tdist.all_reduce(out, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].clone()
        tdist.all_reduce(grad, group=ctx.group)
        return grad, None


class ProcessBatchNorm(_BatchNorm):
    """Statistics over the images of a group of processes, as nn.SyncBatchNorm has on a GPU; for the CPU.

    Two sums over the group a layer, and two in its backward pass. Every process must hold as many images.
    """

    def __init__(self, norm: _BatchNorm, group: tdist.ProcessGroup) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.load_state_dict(norm.state_dict(), assign=True)
        self.group = group

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        axes = [0, *range(2, x.ndim)]
        many = x.numel() // x.shape[1] * self.group.size()
        mean = _GroupSum.apply(x.sum(axes), self.group) / many
        apart = x - mean.view(shape)
        variance = _GroupSum.apply(apart.square().sum(axes), self.group) / many
        self._remember(mean.detach(), variance.detach() * (many / (many - 1)))
        scale = torch.rsqrt(variance + self.eps) * (self.weight if self.affine else 1.0)
        made: Tensor = apart * scale.view(shape) + (self.bias.view(shape) if self.affine else 0.0)
        return made.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Blends the statistics of a batch into the running ones; without a momentum as their average."""
        assert self.num_batches_tracked is not None, "batch norms of a backbone keep running statistics"
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None, "batch norms of a backbone keep running statistics"
            running.lerp_(new, share)


class SyncBatchNormOfOne(nn.SyncBatchNorm):
    """nn.SyncBatchNorm that gathers from a group of this process alone, where torch's skips its kernels."""

    def __init__(self, norm: _BatchNorm, group: tdist.ProcessGroup) -> None:
        own = norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        super().__init__(norm.num_features, *own, group)
        self.load_state_dict(norm.state_dict(), assign=True)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.num_batches_tracked is not None, "batch norms of a backbone keep running statistics"
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        blended = self.running_mean, self.running_var, self.eps, share
        made: Tensor = SyncBatchNorm.apply(input, self.weight, self.bias, *blended, self.process_group, 1)
        return made


def share_statistics(net: nn.Module, images: int, batch_size: int, device: str) -> nn.Module:
    """`net` with batch norms whose statistics are over exactly `images` images of a batch, 0: the whole;
    those of BatchNorm1dOf over a number of their own.

    Statistics do not depend on the number of processes: one with 512 images has the same as eight with 64.
    device: "cuda" or "cpu". Raises Fault if no division of the batch gives exactly that many images.
    """
    groups: dict[int, tdist.ProcessGroup] = {}
    return _shared(net, images, batch_size, device, groups)


def _shared(
    net: nn.Module, images: int, batch_size: int, device: str, groups: dict[int, tdist.ProcessGroup]
) -> nn.Module:
    """`net`, its batch norms replaced; a batch norm's own replacement."""
    if isinstance(net, _BatchNorm):
        wanted = net.images if isinstance(net, BatchNorm1dOf) else images
        return _replaced(net, wanted, batch_size, device, groups)
    for name, child in net.named_children():
        net.add_module(name, _shared(child, images, batch_size, device, groups))
    return net


def _replaced(
    norm: _BatchNorm, images: int, batch_size: int, device: str, groups: dict[int, tdist.ProcessGroup]
) -> nn.Module:
    each = batch_size // dist.world_size()
    ranks = ranks_sharing(images, batch_size, dist.world_size())
    if ranks == 1 and not 0 < images < each and not (dist.grouped() and dist.world_size() == 1):
        return norm  # but in a group of one, which is forced, the code of several is run
    behind = dict(norm.named_children())
    for name in behind:
        delattr(norm, name)
    made = _sharing(norm, images, each, ranks, device, groups)
    for name, child in behind.items():
        made.add_module(name, child)
    if behind:
        made.register_forward_hook(_passed_on)
    return made


def _passed_on(norm: nn.Module, _: Any, normalised: Tensor) -> Tensor:
    """What a batch norm of timm does with what it has normalised: its dropout, then its activation."""
    for child in norm.children():
        normalised = child(normalised)
    return normalised


def _sharing(
    norm: _BatchNorm,
    images: int,
    each: int,
    ranks: int,
    device: str,
    groups: dict[int, tdist.ProcessGroup],
) -> nn.Module:
    """A batch norm that divides the images of this process, or shares with those of others."""
    if 0 < images < each:
        return SplitBatchNorm(norm, images, each)
    if ranks not in groups:
        groups[ranks] = _group(ranks)
    if device == "cuda":
        if ranks == 1:
            return SyncBatchNormOfOne(norm, groups[ranks])
        made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm, groups[ranks])
        return made
    return ProcessBatchNorm(norm, groups[ranks])


def _group(ranks: int) -> tdist.ProcessGroup:
    """The `ranks` neighbouring processes that this one shares with; every process makes all groups."""
    made = [tdist.new_group(list(range(i, i + ranks))) for i in range(0, dist.world_size(), ranks)]
    ours = made[dist.rank() // ranks]
    assert isinstance(ours, tdist.ProcessGroup), "a process is a member of its own group"
    return ours


def ranks_sharing(images: int, batch_size: int, world: int) -> int:
    """How many of `world` processes share statistics so that each group holds exactly `images` images (0: all
    of a batch); 1 where a process divides what it holds, too. Raises Fault if none do.
    """
    if images == 0:
        return world
    each = batch_size // world
    if each % images == 0:
        return 1
    ranks = images // each
    if ranks * each == images and ranks and world % ranks == 0:
        return ranks
    where = "one process" if world == 1 else f"{world} processes"
    said = f"a batch of {batch_size} on {where} is {each} images each, which make no group of {images}"
    raise Fault("bad-config", f"{said} (bn_group); {_remedy(images, batch_size)}")


def _remedy(images: int, batch_size: int) -> str:
    """What makes groups of exactly `images` images of a batch."""
    if batch_size % images:
        return "set it to a divisor of batch_size, or to 0 for the whole batch"
    fitting = (world for world in range(1, batch_size + 1) if batch_size % world == 0)
    works = [world for world in fitting if _fits(images, batch_size // world, world)]
    listed = ", ".join(map(str, works[:8])) + (", ..." if len(works) > 8 else "")
    return f"use {listed} processes, or set it to 0 for the whole batch"


def _fits(images: int, each: int, world: int) -> bool:
    return each % images == 0 or (images % each == 0 and world % (images // each) == 0)
