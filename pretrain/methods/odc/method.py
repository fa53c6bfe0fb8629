"""Online Deep Clustering (Zhan et al., CVPR 2020, arXiv 2006.10645): clustering and training in the same
iteration.

Sample memory: features F (N, D), labels y (N,). Centroid memory: C (K, D). Ours besides: sums S (K, D) and
histogram h (K,), kept up to date by the B rows a step touches, so that no step passes over all N images and a
centroid refresh is one division. B batch over all processes, K clusters, D dimensions, m the smallest allowed
cluster.

Per step:   loss = CE(head(z_i), y_i), classes weighted by h^-1/2                     old labels
            F_i <- unit((1 - a) F_i + a z_i),  y_i <- argmax_k C_k . F_i             frozen centroids
            every 10th step   C_k <- mean of its members
            clusters below m  dissolved, their ids refilled by splitting the largest

Faithful to the released code (OpenSelfSup): assignment is argmax of the raw inner product between a unit
feature and an un-normalised mean centroid; samples are drawn with replacement; the head has no momentum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.base import dist
from pretrain.base.lagged import Lagged
from pretrain.base.numerics import autocast
from pretrain.cluster import agreement, health, kmeans
from pretrain.data.loader import Batch
from pretrain.methods.odc import memory as memories
from pretrain.methods.odc.recipes import ODCRecipe
from pretrain.nets import archs, heads
from pretrain.nets.batch_norm import BatchNorm1dOf
from pretrain.nets.clusters import Clustering, projection
from pretrain.train.method import At, Loss, Method, TrainingData, evaluating, head_apart

ADVICE = "try a lower learning rate, fewer clusters, a larger 'min_cluster', or init_bn = 'calibrated'"


class ODC(Method):
    """Backbone, neck (two linear layers) and a linear head
    over K clusters, trained on the memory's labels.
    """

    net: heads.Network
    memory: memories.Memory
    previous: Tensor  # labels (N,) at the end of the last epoch
    initial: Tensor  # figures (0 or 1, 4) of the initial clustering, until they are written

    def __init__(self, recipe: ODCRecipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        self.recipe = recipe
        backbone = archs.build(recipe.arch, recipe.input, seed)
        head = heads.linear(recipe.dim, recipe.clusters, std=0.01)
        self.net = heads.Network(backbone, self._neck(backbone.dim), head)
        self.memory = memories.blank(n, recipe.clusters, recipe.dim)
        self.register_buffer("previous", self.memory.y.clone())
        self.register_buffer("initial", torch.zeros(0, 4, dtype=torch.float64))
        self._small: Lagged | None = None

    def _neck(self, inside: int) -> nn.Module:
        recipe = self.recipe
        return nn.Sequential(
            nn.Linear(inside, recipe.hidden),
            BatchNorm1dOf(recipe.hidden, recipe.neck_bn_group, recipe.neck_bn_momentum, affine=False),
            nn.ReLU(inplace=True),
            nn.Dropout(recipe.dropout),
            nn.Linear(recipe.hidden, recipe.dim),
            nn.ReLU(inplace=True),
        )

    def start(self, data: TrainingData) -> None:
        """Initial clustering: k-means on the untrained network's
        neck features, no PCA; then no cluster is empty.
        """
        recipe = self.recipe
        if recipe.init_bn == "calibrated":
            self._calibrate(data)
        features, offset = self._features(data)
        found = kmeans.kmeans(
            features,
            recipe.clusters,
            recipe.kmeans_iterations,
            "l2",
            data.seed,
            offset=offset,
            empty="split",
            backend=recipe.kmeans_backend,
        )
        every, labels = dist.all_gather_rows(features), dist.all_gather_rows(found.labels)
        self.memory = memories.remember(every, labels, recipe.clusters)
        memories.handle_small(self.memory, recipe.min_cluster, recipe.metric)
        self.previous, self.initial = self.memory.y.clone(), health.of_kmeans(found)[None]

    def _calibrate(self, data: TrainingData) -> None:
        """Batch-norm statistics of the untrained network from up to 200 batches; without them its features
        collapse.

        Whole batches, which processes share as those of a step: one image has no variance, and statistics
        must not depend on the number of processes. Those of groups are the first group's, as in training.
        """
        norms = [
            module for module in self.net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
        ]
        recipe, size = self.recipe, 256
        if recipe.bn_group or recipe.neck_bn_group:  # groups are parts of a batch of this size
            size = recipe.batch_size
        kept = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = None  # cumulative average
        with torch.no_grad(), autocast(data.device, recipe.precision):
            for batch in data.first(size, 200):
                self.net(batch.views)
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
            for buffer in norm.buffers():
                dist.broadcast_(buffer)

    def _features(self, data: TrainingData) -> tuple[Tensor, int]:
        """Unit neck features of this rank's share, fp32, and the id of its first image."""
        rows, first = [], None
        with evaluating(self.net), autocast(data.device, self.recipe.precision):
            for batch in data.sweep():
                first = int(batch.index[0]) if first is None else first
                rows.append(F.normalize(self.net(batch.views)[0].float()))
        return torch.cat(rows), first or 0

    def order(self, epoch: int, n: int, seed: int) -> npt.NDArray[np.int64]:
        if self.recipe.sampler == "permutation":
            return super().order(epoch, n, seed)
        return np.random.default_rng((seed, epoch, 0)).integers(n, size=n)

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        """Cross-entropy to the stored labels, classes weighted by h^-1/2 and averaged by those weights.

        Processes average their losses: each counts as much as the weights of its own images.
        """
        z, logits = net(batch.views)
        w, y = memories.class_weights(self.memory.h, self.recipe.reweight_power), self.memory.y[batch.index]
        value = F.cross_entropy(logits.float(), y, weight=w)
        own = w[y].sum()
        return Loss(value * (own / dist.mean(own)), (batch.index, F.normalize(z.detach().float())))

    def after_step(self, at: At, *seen: Tensor) -> None:
        recipe, memory = self.recipe, self.memory
        index, z = (dist.all_gather_rows(t, equal=True) for t in seen)
        if not recipe.exact and int((self._small or self._count_small()).read()):
            memories.handle_small(memory, recipe.min_cluster, recipe.metric)
        memories.update(memory, index, z, recipe.memory_momentum, recipe.metric)
        if (at.step + 1) % recipe.centroids_every == 0:
            memories.refresh(memory)
        self._small = self._count_small()
        if recipe.exact and int(self._small.read()):
            memories.handle_small(memory, recipe.min_cluster, recipe.metric)

    def _count_small(self) -> Lagged:
        return Lagged((self.memory.h < self.recipe.min_cluster).sum())

    def groups(self) -> list[dict[str, Any]]:
        return head_apart(self.net, self.net.head, self.recipe.head_momentum)

    def diagnostics(self) -> dict[str, float]:
        h = self.memory.h
        sizes = {"empty": (h == 0).sum(), "smallest": h.min(), "largest": h.max()}
        return {
            "changed": float(self.memory.changed),
            **{name: float(value) for name, value in sizes.items()},
        }

    def epoch_diagnostics(self, data: TrainingData, at: At, last: Loss) -> dict[str, float | str]:
        """Compares the labeling with the last epoch's; the first
        epoch's line also has the initial clustering's.
        """
        memory = self.memory
        rank = float(health.effective_rank(memory.F))
        figures = health.sizes(memory.h) | agreement.compare(memory.y, self.previous, data.labels)
        figures |= health.kmeans_figures(self.initial) if len(self.initial) else {}
        return {**figures, "effective_rank": rank, **health.warning(memory.h, rank, ADVICE)}

    def after_epoch(self, epoch: int) -> None:
        """Rebuilds the sums from the features, which ends their drift."""
        memory = self.memory
        memory.S = memories.sums(memory.F, memory.y, len(memory.h))
        self.previous, self.initial = memory.y.clone(), self.initial[:0].clone()

    def clustering(self) -> Clustering:
        """The neck, to unit length, and the centroid memory."""
        layers, metric = projection(self.net.neck, heads.Unit()), self.recipe.metric
        c = F.normalize(self.memory.C) if metric == "cosine" else self.memory.C
        return Clustering(metric, c[None], layers)

    def check(self) -> None:
        memories.check_memory(self.memory)
