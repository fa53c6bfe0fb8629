"""Which images share batch-norm statistics while a network trains on several processes."""

from __future__ import annotations

import torch.distributed as tdist
from torch import nn

from pretrain.base import dist
from pretrain.base.faults import Fault


def share_statistics(net: nn.Module, images: int, batch_size: int) -> nn.Module:
    """`net` with batch norms that share statistics over groups of processes holding `images` images, 0: over
    all.

    Statistics depend on the group alone: one process with 512 images has the same as eight with 64, and needs
    no synchronisation. Raises Fault if no number of processes holds that many images.
    """
    ranks = ranks_sharing(images, batch_size, dist.world_size())
    if ranks == 1:
        return net
    groups = [tdist.new_group(list(range(i, i + ranks))) for i in range(0, dist.world_size(), ranks)]
    shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net, groups[dist.rank() // ranks])
    return shared


def ranks_sharing(images: int, batch_size: int, world: int) -> int:
    """How many of `world` processes share statistics so that
    each group holds `images` images (0: all of a batch).
    """
    each = batch_size // world
    if images == 0 or images >= batch_size:
        return world
    ranks = max(1, images // each)
    if (images % each and ranks > 1) or world % ranks:
        said = f"batch norm over {images} images does not divide {world} processes of {each} images"
        raise Fault("bad-config", f"{said}; choose a number of processes that does, or another 'bn_group'")
    return ranks
