"""Online Deep Clustering (Zhan et al., CVPR 2020, arXiv 2006.10645): clustering and training in the same iteration.

Sample memory: features F (N, D), labels y (N,). Centroid memory: C (K, D). Ours besides: sums S (K, D) and histogram
h (K,), kept up to date by the B rows a step touches, so that no step passes over all N images and a centroid refresh
is one division. B batch over all processes, K clusters, D dimensions, m the smallest allowed cluster.

Faithful to the released code (OpenSelfSup): assignment is argmax of the raw inner product between a unit feature and
an un-normalised mean centroid; samples are drawn with replacement; the head has no momentum.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pretrain.faults import Fault
from pretrain.lazy import F, backbone, clustering, dist, health, memories, network, partitions, torch
from pretrain.method import Data, Method, autocast, evaluating
from pretrain.recipe import Input, Recipe, Step, View

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pretrain.lagged import Lagged
    from pretrain.loader import Batch

ADVICE = "try a lower learning rate, fewer clusters, a larger 'min_cluster', or init_bn = 'calibrated'"


@dataclass(frozen=True, kw_only=True)
class ODCRecipe(Recipe):
    """ODC's constants; defaults are the paper's."""

    clusters: int = 10_000  # K
    dim: int = 256  # D
    hidden: int = 512
    dropout: float = 0.5
    neck_bn_momentum: float = 0.001
    head_momentum: float = 0.0
    memory_momentum: float = 0.5
    min_cluster: int = 20  # m
    centroids_every: int = 10  # iterations
    reweight_power: float = 0.5
    metric: Literal["dot", "cosine", "l2"] = "dot"
    sampler: Literal["with-replacement", "permutation"] = "with-replacement"
    init_bn: Literal["reference", "calibrated"] = "reference"
    kmeans_iterations: int = 20
    # Small clusters are counted on the device and read by the host one iteration later; exact reads at once.
    exact: bool = False


class ODC(Method):
    """Backbone, neck (two linear layers) and a linear head over K clusters, trained on the memory's labels."""

    def __init__(self, recipe: ODCRecipe, n: int, device: torch.device, seed: int) -> None:
        self.recipe, self.device, self.seed = recipe, device, seed
        self.backbone = backbone.build(recipe.arch, recipe.input, seed)
        self.head = network.linear(recipe.dim, recipe.clusters, std=0.01)
        self.net = network.Network(self.backbone, self._neck(self.backbone.dim), self.head)
        blank = torch.zeros(n, recipe.dim, device=device)
        self.memory = memories.remember(blank, torch.zeros(n, device=device), recipe.clusters)
        self._previous = self.memory.y.clone()
        self._initial = torch.zeros(0, 4, dtype=torch.float64, device=device)  # k-means figures not yet in a line
        self._seen: tuple[Tensor, Tensor] | None = None
        self._small: Lagged | None = None

    def _neck(self, inside: int) -> nn.Module:
        recipe, nn = self.recipe, torch.nn
        return nn.Sequential(
            nn.Linear(inside, recipe.hidden),
            nn.BatchNorm1d(recipe.hidden, momentum=recipe.neck_bn_momentum, affine=False),
            nn.ReLU(inplace=True),
            nn.Dropout(recipe.dropout),
            nn.Linear(recipe.hidden, recipe.dim),
            nn.ReLU(inplace=True),
        )

    def start(self, data: Data) -> None:
        """Initial clustering: k-means on the untrained network's neck features, no PCA; then no cluster is empty."""
        if len(data.split) < self.recipe.clusters:
            said = f"{self.recipe.clusters} clusters need at least as many images; {data.split.name} has"
            raise Fault("bad-config", f"{self.recipe.name}: {said} {len(data.split)}; lower 'clusters'")
        if self.recipe.init_bn == "calibrated":
            self._calibrate(data)
        features, offset = self._features(data)
        found = clustering.kmeans(
            features,
            self.recipe.clusters,
            self.recipe.kmeans_iterations,
            "l2",
            data.seed,
            offset=offset,
            empty="split",
        )
        every, labels = dist.all_gather_rows(features), dist.all_gather_rows(found.labels)
        self.memory = memories.remember(every, labels, self.recipe.clusters)
        memories.handle_small(self.memory, self.recipe.min_cluster, self.recipe.metric)
        self._previous, self._initial = self.memory.y.clone(), health.of_kmeans(found)[None]

    def _calibrate(self, data: Data) -> None:
        """Batch-norm statistics of the untrained network from up to 200 batches; without them its features collapse."""
        norms = [module for module in self.net.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
        kept = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = None  # cumulative average
        with torch.no_grad(), autocast(self.device, self.recipe.precision):
            for batch in itertools.islice(data.sweep(), 200):
                self.net(batch.views)
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum

    def _features(self, data: Data) -> tuple[Tensor, int]:
        """Unit neck features of this rank's share, fp32, and the id of its first image."""
        rows, first = [], None
        with evaluating(self.net), autocast(self.device, self.recipe.precision):
            for batch in data.sweep():
                first = int(batch.index[0]) if first is None else first
                rows.append(F.normalize(self.net(batch.views)[0].float()))
        return torch.cat(rows), first or 0

    def order(self, epoch: int, n: int, seed: int) -> npt.NDArray[np.int64]:
        if self.recipe.sampler == "permutation":
            return super().order(epoch, n, seed)
        return np.random.default_rng((seed, epoch, 0)).integers(n, size=n)

    def loss(self, net: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy to the stored labels, classes weighted by h^-1/2 and averaged by those weights."""
        z, logits = net(batch.views)
        self._seen = batch.index, F.normalize(z.detach().float())
        w = memories.class_weights(self.memory.h, self.recipe.reweight_power)
        return F.cross_entropy(logits.float(), self.memory.y[batch.index], weight=w)

    def after_step(self, step: int) -> None:
        assert self._seen is not None
        recipe, memory = self.recipe, self.memory
        index, z = (dist.all_gather_rows(t, equal=True) for t in self._seen)
        if not recipe.exact and int((self._small or self._count_small()).read()):
            memories.handle_small(memory, recipe.min_cluster, recipe.metric)
        memories.update(memory, index, z, recipe.memory_momentum, recipe.metric)
        if step % recipe.centroids_every == 0:
            memories.refresh(memory)
        self._small = self._count_small()
        if recipe.exact and int(self._small.read()):
            memories.handle_small(memory, recipe.min_cluster, recipe.metric)

    def _count_small(self) -> Lagged:
        from pretrain.lagged import Lagged

        return Lagged((self.memory.h < self.recipe.min_cluster).sum())

    def groups(self) -> list[dict[str, Any]]:
        head = list(self.head.parameters())
        rest = [p for p in self.net.parameters() if all(p is not h for h in head)]
        return [{"params": rest}, {"params": head, "momentum": self.recipe.head_momentum}]

    def state(self) -> dict[str, Tensor]:
        return {**vars(self.memory), "previous": self._previous, "initial": self._initial}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._previous, self._initial = state.pop("previous"), state.pop("initial")
        self.memory = memories.Memory(**state)

    def diagnostics(self) -> dict[str, float]:
        h = self.memory.h
        sizes = {"empty": (h == 0).sum(), "smallest": h.min(), "largest": h.max()}
        return {
            "changed": float(self.memory.changed),
            **{name: float(value) for name, value in sizes.items()},
        }

    def epoch_diagnostics(self, data: Data) -> dict[str, float | str]:
        """Rebuilds the sums from the features, which ends their drift; compares the labeling with the last epoch's.

        The first epoch's line also has the figures of the initial clustering.
        """
        memory = self.memory
        memory.S = memories.sums(memory.F, memory.y, len(memory.h))
        rank = float(health.effective_rank(memory.F))
        figures = health.sizes(memory.h) | partitions.compare(memory.y, self._previous, data.labels)
        figures |= health.kmeans_figures(self._initial) if len(self._initial) else {}
        self._previous, self._initial = memory.y.clone(), self._initial[:0].clone()
        return {**figures, "effective_rank": rank, **health.warning(memory.h, rank, ADVICE)}

    def check(self) -> None:
        memories.check_memory(self.memory)


_DIGITS = Input(size=32, resize=32)
PAPER = (
    ODCRecipe(
        name="odc_resnet50_8xb64-steplr-440e_in1k",
        arch="resnet50",
        input=Input(size=224, resize=256),
        views=(View(size=224, rotate=2.0, jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2),),
        epochs=440,
        batch_size=512,
        lr=0.06,
        weight_decay=1e-5,
        schedule=Step(milestones=(400,), gamma=0.4),
        sync_bn=True,
    ),
)
DEMO = (
    replace(
        PAPER[0],
        name="odc_resnet10-narrow_demo",
        arch="resnet10_narrow",
        input=_DIGITS,
        views=(View(size=32, scale=(0.35, 1.0), rotate=8.0, jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2, mix=0.5),),
        epochs=60,
        batch_size=128,
        schedule=Step(milestones=(52,), gamma=0.4),
        clusters=100,
        min_cluster=10,
        dropout=0.2,
        head_momentum=0.9,  # 31 iterations an epoch: a head without momentum needs thousands
        memory_momentum=0.3,
        metric="cosine",
        init_bn="calibrated",
    ),
)
SMOKE = (
    replace(
        DEMO[0],
        name="odc_resnet10-narrow_smoke",
        epochs=6,
        batch_size=64,
        clusters=40,
    ),
)
