"""Features of a split: computed once per weights, data, view, numerics and layer, then read from disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import cache
from benchmarks.contract.protocol import LIBRARIES, version
from benchmarks.contract.task import Task
from benchmarks.shelf import Array, Create
from benchmarks.turns import my_batches
from pretrain.base import dist
from pretrain.base.faults import Fault
from pretrain.base.settings import plain
from pretrain.base.source import source
from pretrain.data.loader import open_loader
from pretrain.data.split import Split
from pretrain.data.view import View
from pretrain.nets.backbone import Backbone

Take = Callable[[Backbone, Tensor], list[Tensor]]
Stored = Literal["float32", "float16"]  # rounded when written; computed in fp32
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
    return [_averaged(m, grid(m, limit)) for m in maps]


def _averaged(m: Tensor, side: int) -> Tensor:
    """A map over an even grid; one of this size is copied, which is faster than means of one value."""
    return m.clone() if m.shape[2:] == (side, side) else F.adaptive_avg_pool2d(m, side)


def grid(m: Tensor, limit: int) -> int:
    """Side of the pooled map: at least 1, at most the map's own."""
    return max(1, min(int((limit / m.shape[1]) ** 0.5), m.shape[2], m.shape[3]))


def pooled(task: Task, role: str, view: View, limit: int, dtype: Stored = "float32") -> list[Array]:
    """Five arrays (N, C_i * g_i^2) of a split, flattened as channel, row, column; memory-mapped."""

    def take(backbone: Backbone, x: Tensor) -> list[Tensor]:
        return [m.flatten(1) for m in pool(backbone.stages(x), limit)]

    return _cached(task, role, view, f"pooled-{limit}", take, dtype)


def average(task: Task, role: str, view: View) -> Tensor:
    """Globally averaged features float32 (N, dim) of a split, in memory."""
    return torch.from_numpy(np.array(average_rows(task, role, view)))


def average_rows(task: Task, role: str, view: View, dtype: Stored = "float32") -> Array:
    """The same as an array (N, dim) on disk, memory-mapped and read-only: it may be larger than memory."""
    return _cached(task, role, view, "average", lambda backbone, x: [backbone(x)], dtype)[0]


def _cached(task: Task, role: str, view: View, kind: str, take: Take, dtype: Stored) -> list[Array]:
    what = {"data": task.fingerprints[role], "view": plain(view), "kind": kind}
    if dtype != "float32":
        what["dtype"] = dtype
    return cache.arrays(task, what, lambda create: _extract(task, role, view, take, dtype, create), _by(task))


def _by(task: Task) -> dict[str, Any]:
    """What decides features beside weights, data and view: the code and libraries that make them.

    The protocol that asks does not, so all that want the same features share them.
    """
    return {
        "code": source("benchmarks.features"),
        "packages": {name: version(name) for name in LIBRARIES},
        "numerics": task.protocol.numerics,
    }


def _extract(task: Task, role: str, view: View, take: Take, dtype: Stored, create: Create | None) -> None:
    """Appends the features of a split to its arrays, in the order of the split.

    Each process computes whole batches in turn, so their number moves no bit. Raises Fault (nan) where one is
    not finite.
    """
    split, done = task.splits[role], 0
    parts = [torch.empty(0, width, device=task.device) for width in _widths(task, view, take)]
    writers = [create((len(split), part.shape[1]), dtype) for part in parts] if create else []
    ours = _batches(task, split, view, take)
    for _ in range(0, len(split), BATCH * dist.world_size()):
        rows = [dist.all_gather_rows(mine) for mine in next(ours, parts)]
        if not all(bool(row.isfinite().all()) for row in rows):
            raise Fault("nan", f"features of {split.name} are not finite")
        for writer, row in zip(writers, rows, strict=bool(writers)):
            writer.append(row.cpu().numpy())
        done += len(rows[0])
        task.report(done, len(split), f"features of {split.name}")
    assert done == len(split)


def _batches(task: Task, split: Split, view: View, take: Take) -> Iterator[list[Tensor]]:
    """Features fp32 of the batches of this process: of W processes, number r has batches r, r + W, ..."""
    backbone = task.backbone.eval()
    loader = open_loader(split, [view], backbone.input, task.seed, task.device)
    order = my_batches(np.arange(len(split), dtype=np.int64), BATCH)
    for batch in loader.batches(order, BATCH, epoch=0):
        with torch.inference_mode():
            parts = [part.float() for part in take(backbone, channels_last(batch.views[0]))]
        yield parts


def _widths(task: Task, view: View, take: Take) -> list[int]:
    """Number of values per image of each array, seen on a blank one of the view's size."""
    blank = torch.zeros(1, 3, view.size, view.size, device=task.device)
    with torch.inference_mode():
        return [part.shape[1] for part in take(task.backbone.eval(), blank)]


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
