"""Modules that need torch, imported when they are first used.

Method and protocol files declare recipes next to their maths. Importing such modules from here lets `zoo list`,
`zoo plan` and `zoo status` read those recipes in milliseconds; the first tensor pays for torch.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class _Deferred(ModuleType):
    """A stand-in that imports the module of its name at the first attribute that is asked for."""

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self.__name__), attribute)


if TYPE_CHECKING:
    import torch as torch
    import torch.nn.functional as F

    from pretrain import backbone, clustering, dist, health, loader, memories, network, partitions, pca
else:
    torch = _Deferred("torch")
    F = _Deferred("torch.nn.functional")
    backbone = _Deferred("pretrain.backbone")
    clustering = _Deferred("pretrain.clustering")
    dist = _Deferred("pretrain.dist")
    health = _Deferred("pretrain.health")
    loader = _Deferred("pretrain.loader")
    memories = _Deferred("pretrain.memories")
    network = _Deferred("pretrain.network")
    partitions = _Deferred("pretrain.partitions")
    pca = _Deferred("pretrain.pca")

__all__ = ["F", "backbone", "clustering", "dist", "health", "loader", "memories"]
__all__ += ["network", "partitions", "pca", "torch"]
