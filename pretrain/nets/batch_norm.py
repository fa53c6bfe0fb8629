"""Which images share batch-norm statistics while a network trains on several processes."""

from __future__ import annotations

import torch.distributed as tdist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pretrain.base import dist
from pretrain.base.faults import Fault


class LocalBatchNorm1d(nn.BatchNorm1d):
    """Batch norm over (B, D) whose statistics stay with their process where those of a network are shared."""


def share_statistics(net: nn.Module, images: int, batch_size: int) -> nn.Module:
    """`net` with batch norms that share statistics over groups of processes holding `images` images, 0: over
    all; LocalBatchNorm1d do not share.

    Statistics depend on the group alone: one process with 512 images has the same as eight with 64, and needs
    no synchronisation. Raises Fault if no number of processes holds exactly that many images.
    """
    ranks = ranks_sharing(images, batch_size, dist.world_size())
    if ranks == 1:
        return net
    groups = [tdist.new_group(list(range(i, i + ranks))) for i in range(0, dist.world_size(), ranks)]
    ours = groups[dist.rank() // ranks]
    assert isinstance(ours, tdist.ProcessGroup), "a process is a member of its own group"
    return _shared(net, ours)


def _shared(net: nn.Module, group: tdist.ProcessGroup) -> nn.Module:
    """`net`, its batch norms but for local ones replaced; a batch norm's own replacement."""
    if isinstance(net, LocalBatchNorm1d):
        return net
    if isinstance(net, _BatchNorm):
        made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net, group)
        return made
    for name, child in net.named_children():
        net.add_module(name, _shared(child, group))
    return net


def ranks_sharing(images: int, batch_size: int, world: int) -> int:
    """How many of `world` processes share statistics so that each group holds exactly `images` images (0: all
    of a batch). Raises Fault if none do.
    """
    if images == 0:
        return world
    each = batch_size // world
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
    works = [batch_size // images * ranks for ranks in range(1, images + 1) if images % ranks == 0]
    listed = ", ".join(map(str, works[:6])) + (", ..." if len(works) > 6 else "")
    return f"use {listed} processes, or set it to 0 for the whole batch"
