"""DeepCluster (Caron et al., ECCV 2018, arXiv 1807.05520): cluster all features, train on the labels, start again.

Before each epoch:   f = features of all N images, eval mode, centre crops
                     z = l2(PCA-whitening(f))        statistics summed batch by batch, D of d dimensions kept
                     y = k-means(z), K clusters
                     head <- fresh: cluster k of this epoch has nothing to do with k of the last
Per epoch, N draws:  equal shares of the clusters that have members; cross-entropy of the head to y

Features stay with the process that computed them (N / W rows of W processes). Labels (N,) are equal on all processes
and looked up by sample id on the device: no loader worker holds any.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pretrain.lazy import F, backbone, clustering, dist, health, network, partitions, pca, torch
from pretrain.method import Data, Method, autocast, derive, evaluating, share
from pretrain.recipe import Input, Recipe, View

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pretrain.loader import Batch

ADVICE = "try fewer clusters, a lower learning rate, or the Sobel front-end"


@dataclass(frozen=True, kw_only=True)
class DeepClusterRecipe(Recipe):
    """DeepCluster's constants; defaults are those of its ResNet-50."""

    clusters: int = 10_000  # K
    pca: int = 256  # D
    kmeans_iterations: int = 20
    head_momentum: float = 0.0
    hidden: int = 0  # width of two fully connected layers between an AlexNet or VGG and its head
    dropout: float = 0.5  # before each of them; in a VGG before the second alone


class DeepCluster(Method):
    """Backbone, fully connected layers where there are any, and a linear head that every epoch starts afresh.

    The clustered features are the head's input before its ReLU: the global average of a ResNet, else the second
    fully connected layer.
    """

    net: network.Network

    def __init__(self, recipe: DeepClusterRecipe, n: int, device: torch.device, seed: int) -> None:
        self.recipe, self.device = recipe, device
        self.backbone = backbone.build(recipe.arch, recipe.input, seed)
        trunk, neck, self.dim = self._layers()
        self.top = network.linear(self.dim, recipe.clusters, std=0.01)
        head = torch.nn.Sequential(torch.nn.ReLU(), self.top) if recipe.hidden else self.top
        self.net = network.Network(trunk, neck, head)
        self.labels = torch.full((n,), -1, dtype=torch.int32, device=device)
        self._previous = self.labels
        self._figures = torch.zeros(5, dtype=torch.float64, device=device)  # of k-means, then the effective rank
        self._fresh = False

    def _layers(self) -> tuple[nn.Module, nn.Module, int]:
        """Trunk, neck, and the width of what is clustered."""
        nn, hidden, dropout = torch.nn, self.recipe.hidden, self.recipe.dropout
        if not hidden:
            return self.backbone, nn.Identity(), self.backbone.dim
        assert isinstance(self.backbone, backbone.Plain), "fully connected layers follow an AlexNet or a VGG"
        trunk, side = network.Flattened(self.backbone).eval(), self.recipe.input.size
        with torch.no_grad():
            inside = trunk(torch.zeros(1, 3, side, side)).shape[1]
        trunk.train()
        first, second = network.linear(inside, hidden, std=0.01), network.linear(hidden, hidden, std=0.01)
        layers = [first, nn.ReLU(True), nn.Dropout(dropout), second]
        if self.recipe.arch == "alexnet":  # as released: the VGG-16 has no dropout between its maps and its first layer
            layers = [nn.Dropout(dropout), *layers]
        return trunk, nn.Sequential(*layers), hidden

    def before_epoch(self, epoch: int, data: Data) -> None:
        """Re-clusters, and gives every process the same fresh head."""
        self._previous = self.labels
        features, whiten = self._features(data)
        z = F.normalize(whiten(features))
        # Of the features as they are: whitened ones fill all directions alike, however far the features collapse.
        rank = dist.broadcast_(health.effective_rank(dist.all_gather_rows(health.sample(features))))
        found = clustering.kmeans(
            z,
            self.recipe.clusters,
            self.recipe.kmeans_iterations,
            "l2",
            derive(data.seed, epoch, 0),
            empty="split",
        )
        self.labels = dist.all_gather_rows(found.labels)  # shares are in the order of ids
        self._figures = torch.cat([health.of_kmeans(found), rank.double()[None]])
        weights = torch.Generator().manual_seed(derive(data.seed, epoch, 1))
        with torch.no_grad():
            self.top.weight.copy_(torch.empty(self.top.weight.shape).normal_(0, 0.01, generator=weights))
            self.top.bias.zero_()
        self._fresh = True

    def _features(self, data: Data) -> tuple[Tensor, Any]:
        """Features (n_r, d) fp32 of this process's share, and the whitening that all processes' features ask for."""
        rows = len(share(len(data.split), dist.rank(), dist.world_size()))
        features, at = torch.empty(rows, self.dim, device=self.device), 0
        moments = pca.Moments(self.dim, self.device)
        with evaluating(self.net), autocast(self.device, self.recipe.precision):
            for batch in data.sweep():
                f = self.net.neck(self.net.backbone(batch.views[0])).float()
                moments.update(f)
                features[at : at + len(f)] = f
                at += len(f)
        return features, moments.solve(self.recipe.pca)

    def order(self, epoch: int, n: int, seed: int) -> npt.NDArray[np.int64]:
        return uniform_epoch(self.labels.cpu().numpy(), n, (seed, epoch, 2))

    def loss(self, net: nn.Module, batch: Batch) -> Tensor:
        _, logits = net(batch.views)
        return F.cross_entropy(logits.float(), self.labels[batch.index].long().repeat(len(batch.views)))

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        if self._fresh:
            for parameter in self.top.parameters():
                optimizer.state.pop(parameter, None)
        self._fresh = False

    def groups(self) -> list[dict[str, Any]]:
        head = list(self.top.parameters())
        rest = [p for p in self.net.parameters() if all(p is not h for h in head)]
        return [{"params": rest}, {"params": head, "momentum": self.recipe.head_momentum}]

    def state(self) -> dict[str, Tensor]:
        return {"labels": self.labels, "previous": self._previous, "figures": self._figures}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.labels, self._previous, self._figures = state["labels"], state["previous"], state["figures"]

    def epoch_diagnostics(self, data: Data) -> dict[str, float | str]:
        """Of the clustering that this epoch was trained on."""
        counts = torch.bincount(self.labels, minlength=self.recipe.clusters)
        rank = float(self._figures[-1])
        figures = health.sizes(counts) | partitions.compare(self.labels, self._previous, data.labels)
        figures |= {**health.kmeans_figures(self._figures[:-1]), "effective_rank": rank}
        return {**figures, **health.warning(counts, rank, ADVICE)}

    def check(self) -> None:
        assert 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.recipe.clusters, "a label is out of range"


def uniform_epoch(labels: npt.NDArray[np.integer[Any]], total: int, seed: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Sample ids (total,) in random order, equally many from every cluster that has members, but for the last cut.

    q = floor(total / clusters with members) + 1 draws per cluster: without replacement where it has more than q
    members. A function of its arguments alone, so all processes compute the same.
    """
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(labels)), labels))  # by cluster, in random order within
    h = np.bincount(labels)
    offset, h = (np.cumsum(h) - h)[h > 0], h[h > 0]
    q = total // len(h) + 1
    draws = np.where(h[:, None] > q, np.arange(q), (rng.random((len(h), q)) * h[:, None]).astype(np.int64))
    return rng.permutation(order[(offset[:, None] + draws).reshape(-1)])[:total]


_RGB = DeepClusterRecipe(
    name="deepcluster_resnet50_8xb64-steplr-200e_in1k",
    arch="resnet50",
    input=Input(size=224, resize=256),
    views=(View(size=224, rotate=2.0, jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2),),
    epochs=200,
    batch_size=512,
    lr=0.1,
    weight_decay=1e-5,
)
_SOBEL = replace(
    _RGB,
    name="deepcluster-sobel_resnet50_8xb64-steplr-200e_in1k",
    input=Input(size=224, resize=256, sobel=True),
)
_ALEXNET = replace(
    _SOBEL,
    name="deepcluster-sobel_alexnet_1xb256-500e_in1k",
    arch="alexnet",
    views=(View(size=224),),
    epochs=500,
    batch_size=256,
    lr=0.05,
    hidden=4096,
)
PAPER = (
    _SOBEL,
    _RGB,
    _ALEXNET,
    replace(_ALEXNET, name="deepcluster-sobel_vgg16-bn_1xb256-500e_in1k", arch="vgg16_bn"),
)
DEMO = (
    replace(
        _SOBEL,
        name="deepcluster-sobel_resnet10-narrow_demo",
        arch="resnet10_narrow",
        input=Input(size=32, resize=32, sobel=True),
        views=(View(size=32, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2, mix=0.5),),
        epochs=20,
        batch_size=32,  # the head starts afresh every epoch: it needs the steps, and momentum
        lr=0.05,
        head_momentum=0.9,
        clusters=40,
        pca=64,
    ),
)
SMOKE = (
    replace(
        DEMO[0],
        name="deepcluster-sobel_resnet10-narrow_smoke",
        epochs=6,
        batch_size=64,
        clusters=40,
        pca=32,
    ),
)
