"""Features of a split: computed once per weights, data, view and pooling, then read from disk."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import cache
from benchmarks.cache import Array
from benchmarks.contract.task import Task
from pretrain.base.faults import Fault
from pretrain.base.settings import plain
from pretrain.data.loader import open_loader
from pretrain.data.split import Split
from pretrain.data.view import View
from pretrain.nets.backbone import Backbone

Take = Callable[[Backbone, Tensor], list[Tensor]]
BATCH = 256
POOLED = 9216  # largest flattened size of a pooled map; ResNet-50 at 224: 9216, 9216, 8192, 9216, 8192

# Average pooling (kernel, stride, padding) of the five maps of a ResNet-50 at 224 px, from the FAIR
# benchmark.
RESNET50_POOLS = ((10, 10, 4), (16, 8, 0), (13, 5, 0), (8, 3, 0), (6, 1, 0))
RESNET50_MAPS = ((64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7))


def pool(maps: list[Tensor], limit: int = POOLED) -> list[Tensor]:
    """Feature1 to Feature5 as (B, C_i, g_i, g_i).

    ResNet-50 at 224 px uses the published kernels (zeros of the padding count in the mean). Any other map is
    averaged over an even grid of the largest side g with C * g^2 <= limit, which gives the same sizes for
    ResNet-50.
    """
    shapes = tuple((m.shape[1], m.shape[2]) for m in maps)
    if shapes == RESNET50_MAPS and limit == POOLED:
        return [F.avg_pool2d(m, *spec) for m, spec in zip(maps, RESNET50_POOLS, strict=True)]
    return [F.adaptive_avg_pool2d(m, grid(m, limit)) for m in maps]


def grid(m: Tensor, limit: int) -> int:
    """Side of the pooled map: at least 1, at most the map's own."""
    return max(1, min(int((limit / m.shape[1]) ** 0.5), m.shape[2], m.shape[3]))


def pooled(task: Task, role: str, view: View, limit: int) -> list[Array]:
    """Five float32 arrays (N, C_i * g_i^2) of a split, flattened as channel, row, column; memory-mapped."""

    def take(backbone: Backbone, x: Tensor) -> list[Tensor]:
        return [m.flatten(1) for m in pool(backbone.stages(x), limit)]

    return _cached(task, role, view, f"pooled-{limit}", take)


def average(task: Task, role: str, view: View) -> Tensor:
    """Globally averaged features float32 (N, dim) of a split."""
    array = _cached(task, role, view, "average", lambda backbone, x: [backbone(x)])[0]
    return torch.from_numpy(np.array(array))


def _cached(task: Task, role: str, view: View, kind: str, take: Take) -> list[Array]:
    what = {"data": task.fingerprints[role], "view": plain(view), "kind": kind}
    return cache.arrays(task, what, lambda: _extract(task, task.splits[role], view, take))


@torch.no_grad()
def _extract(task: Task, split: Split, view: View, take: Take) -> list[Array]:
    """Arrays of features in the order of the split; raises Fault (nan) if one is not finite."""
    backbone = task.backbone.eval()
    loader = open_loader(split, [view], backbone.input, task.seed, task.device)
    order = np.arange(len(split), dtype=np.int64)
    arrays: list[Array] = []
    at = 0
    for batch in loader.batches(order, BATCH, epoch=0):
        parts = [part.float().cpu().numpy() for part in take(backbone, channels_last(batch.views[0]))]
        if not arrays:
            arrays = [np.empty((len(split), part.shape[1]), dtype=np.float32) for part in parts]
        for array, part in zip(arrays, parts, strict=True):
            array[at : at + len(part)] = part
        at += len(batch.index)
        task.report(at, len(split), f"features of {split.name}")
    assert at == len(split)
    if not all(np.isfinite(array).all() for array in arrays):
        raise Fault("nan", f"features of {split.name} are not finite")
    return arrays


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
