"""DeepCluster (Caron et al., ECCV 2018, arXiv 1807.05520): cluster all features, train on the labels, start
again.

Before each epoch:   f = features of all N images, eval mode, centre crops
                     z = l2(PCA-whitening(f))        statistics summed batch by batch, D of d dimensions kept
                     y = k-means(z), K clusters
                     head <- fresh: cluster k of this epoch has nothing to do with k of the last
Per epoch, N draws:  equal shares of the clusters that have members; cross-entropy of the head to y

Features stay with the process that computed them (N / W rows of W processes). Labels (N,) are equal on all
processes and looked up by sample id on the device: no loader worker holds any.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.base import dist
from pretrain.base.numerics import autocast
from pretrain.cluster import agreement, health, kmeans, pca
from pretrain.data.loader import Batch
from pretrain.methods.deepcluster.recipes import DeepClusterRecipe
from pretrain.nets import archs, heads
from pretrain.nets.backbone import Backbone
from pretrain.nets.clusters import Clustering, projection
from pretrain.nets.plain import Plain
from pretrain.train.method import (
    At,
    Loss,
    Method,
    TrainingData,
    derive,
    evaluating,
    head_apart,
    share,
)

ADVICE = "try fewer clusters, a lower learning rate, or the Sobel front-end"


class DeepCluster(Method):
    """Backbone, fully connected layers where there are any, and a linear head that every epoch starts afresh.

    The clustered features are the head's input before its ReLU: the global average of a ResNet, else the
    second fully connected layer.
    """

    net: heads.Network
    labels: Tensor  # int32 (N,), of this epoch's clustering
    previous: Tensor  # of the last one
    figures: Tensor  # of k-means, then the effective rank, float64 (5,)

    def __init__(self, recipe: DeepClusterRecipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        self.recipe = recipe
        trunk, neck, self.dim = layers(archs.build(recipe.arch, recipe.input, seed), recipe)
        top = heads.linear(self.dim, recipe.clusters, std=0.01)
        self.net = heads.Network(trunk, neck, nn.Sequential(nn.ReLU(), top) if recipe.hidden else top)
        self.register_buffer("labels", torch.full((n,), -1, dtype=torch.int32))
        self.register_buffer("previous", self.labels.clone())
        self.register_buffer("figures", torch.zeros(5, dtype=torch.float64))
        self._fresh = False

    @property
    def top(self) -> nn.Linear:
        """The linear head."""
        top = self.net.head[-1] if isinstance(self.net.head, nn.Sequential) else self.net.head
        assert isinstance(top, nn.Linear)
        return top

    def before_epoch(self, epoch: int, data: TrainingData) -> None:
        """Re-clusters, and gives every process the same fresh head."""
        self.previous = self.labels
        features, whiten = self._features(data)
        z = F.normalize(whiten(features))
        # Of the features as they are: whitened ones fill all directions alike, however far the features
        # collapse.
        rank = dist.broadcast_(health.effective_rank(dist.all_gather_rows(health.sample(features))))
        found = kmeans.kmeans(
            z,
            self.recipe.clusters,
            self.recipe.kmeans_iterations,
            "l2",
            derive(data.seed, epoch, 0),
            empty="split",
            backend=self.recipe.kmeans_backend,
        )
        self.labels = dist.all_gather_rows(found.labels)  # shares are in the order of ids
        self.figures = torch.cat([health.of_kmeans(found), rank.double()[None]])
        weights = torch.Generator().manual_seed(derive(data.seed, epoch, 1))
        with torch.no_grad():
            self.top.weight.copy_(torch.empty(self.top.weight.shape).normal_(0, 0.01, generator=weights))
            self.top.bias.zero_()
        self._fresh = True

    def _features(self, data: TrainingData) -> tuple[Tensor, pca.Whitening]:
        """Features (n_r, d) fp32 of this process's share, and the
        whitening that all processes' features ask for.
        """
        rows = len(share(len(data.split), dist.rank(), dist.world_size()))
        features, at = torch.empty(rows, self.dim, device=data.device), 0
        moments = pca.Moments(self.dim, data.device)
        with evaluating(self.net), autocast(data.device, self.recipe.precision):
            for batch in data.sweep():
                f = self.net.neck(self.net.backbone(batch.views[0])).float()
                moments.update(f)
                features[at : at + len(f)] = f
                at += len(f)
        return features, moments.solve(self.recipe.pca)

    def order(self, epoch: int, n: int, seed: int) -> npt.NDArray[np.int64]:
        return uniform_epoch(self.labels.cpu().numpy(), n, (seed, epoch, 2))

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        _, logits = net(batch.views)
        return Loss(F.cross_entropy(logits.float(), self.labels[batch.index].long().repeat(len(batch.views))))

    def before_step(self, at: At, optimizer: torch.optim.Optimizer) -> None:
        if self._fresh:
            for parameter in self.top.parameters():
                optimizer.state.pop(parameter, None)
        self._fresh = False

    def groups(self) -> list[dict[str, Any]]:
        return head_apart(self.net, self.top, self.recipe.head_momentum)

    def epoch_diagnostics(self, data: TrainingData, at: At, last: Loss) -> dict[str, float | str]:
        """Of the clustering that this epoch was trained on."""
        counts = torch.bincount(self.labels, minlength=self.recipe.clusters)
        rank = float(self.figures[-1])
        figures = health.sizes(counts) | agreement.compare(self.labels, self.previous, data.labels)
        figures |= {**health.kmeans_figures(self.figures[:-1]), "effective_rank": rank}
        return {**figures, **health.warning(counts, rank, ADVICE)}

    def clustering(self) -> Clustering:
        """The neck and the head: the clusters of the last k-means as the network has learnt to tell them
        apart, since its centroids are of features that are an epoch old.
        """
        between = [nn.ReLU()] if self.recipe.hidden else []
        trunk, top = self.net.backbone, self.top
        return Clustering(
            "classifier",
            top.weight.detach()[None],
            projection(self.net.neck, *between),
            top.bias.detach()[None],
            trunk.backbone.top if isinstance(trunk, Flattened) else None,
        )

    def check(self) -> None:
        assert 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.recipe.clusters, (
            "a label is out of range"
        )


class Flattened(nn.Module):
    """The last map of an AlexNet or VGG, max-pooled and
    flattened, for fully connected layers: (B, C * side^2).
    """

    def __init__(self, backbone: Plain) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.backbone.top
        return F.max_pool2d(self.backbone.stages(x)[-1], kernel, stride).flatten(1)


def layers(backbone: Backbone, recipe: DeepClusterRecipe) -> tuple[nn.Module, nn.Module, int]:
    """Trunk, neck, and the width of what is clustered."""
    if not recipe.hidden:
        return backbone, nn.Identity(), backbone.dim
    assert isinstance(backbone, Plain), "fully connected layers follow an AlexNet or a VGG"
    trunk, side = Flattened(backbone).eval(), recipe.input.size
    try:
        with torch.no_grad():
            inside = trunk(torch.zeros(1, 3, side, side)).shape[1]
    except RuntimeError:  # what torch raises where a map is smaller than a window of pooling
        said = f"images of {side} px leave no map for fully connected layers after {recipe.arch}"
        raise recipe.misfit(f"{said}; raise input.size and the views' size, or set hidden to 0") from None
    trunk.train()
    first, second = (
        heads.linear(inside, recipe.hidden, std=0.01),
        heads.linear(recipe.hidden, recipe.hidden, std=0.01),
    )
    neck: list[nn.Module] = [first, nn.ReLU(True), nn.Dropout(recipe.dropout), second]
    if (
        recipe.arch == "alexnet"
    ):  # as released: the VGG-16 has no dropout between its maps and its first layer
        neck = [nn.Dropout(recipe.dropout), *neck]
    return trunk, nn.Sequential(*neck), recipe.hidden


def uniform_epoch(
    labels: npt.NDArray[np.integer[Any]], total: int, seed: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Sample ids (total,) in random order, equally many from every cluster that has members, but for the last
    cut.

    q = floor(total / clusters with members) + 1 draws per cluster: without replacement where it has more than
    q members. A function of its arguments alone, so all processes compute the same.
    """
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(labels)), labels))  # by cluster, in random order within
    h = np.bincount(labels)
    offset, h = (np.cumsum(h) - h)[h > 0], h[h > 0]
    q = total // len(h) + 1
    draws = np.where(h[:, None] > q, np.arange(q), (rng.random((len(h), q)) * h[:, None]).astype(np.int64))
    return rng.permutation(order[(offset[:, None] + draws).reshape(-1)])[:total]
