"""DeepCluster-v2 (Caron et al., NeurIPS 2020, arXiv 2006.09882): spherical k-means on features of the last
epoch.

State: banks E (J, N, D) of unit features of crops 0..J-1, labels A (Q, N), prototypes C (Q, K, D).
Before each epoch, per head q:   C_q, A_q = k-means of the rows of E_(q mod J) that the last epoch visited
Per step, all crops v, large and small:   loss = mean_q CE(z_v . C_q / T, A_q)   over images that have a label
then the rows of the batch in E take the features of this step, one epoch before they are used.

N images, D dimensions, K prototypes per head, J banks, Q heads. Prototypes are plain tensors, never in the
optimiser: the published recipes freeze them for longer than they run. Banks are addressed by sample id and
equal on every process (0.66 GB each for ImageNet, and one gather of J B D numbers per step), so a run resumes
with any number of processes. k-means starts from rows of all processes, where the released code takes those
of the first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.base import dist
from pretrain.base.numerics import autocast, exact
from pretrain.base.settings import changed
from pretrain.cluster import agreement, health, kmeans
from pretrain.data.loader import Batch
from pretrain.methods.deepclusterv2.recipes import DeepClusterV2Recipe
from pretrain.nets import archs, heads
from pretrain.nets.clusters import Clustering, projection
from pretrain.train.method import At, Loss, Method, TrainingData, derive, share

ADVICE = "try a lower learning rate, fewer prototypes, or empty = 'split'"


class DeepClusterV2(Method):
    """Backbone and projector onto the unit sphere; the heads are products with fixed prototypes."""

    net: heads.Network
    bank: Tensor  # E (J, N, D)
    visited: Tensor  # bool (N,): rows written since the last clustering
    labels: Tensor  # A int32 (Q, N), -1: none, ignored
    prototypes: Tensor  # C (Q, K, D)
    previous: Tensor  # labels (N,) of the first head in the last epoch
    figures: Tensor  # of the heads' k-means, float64 (Q, 4)

    def __init__(self, recipe: DeepClusterV2Recipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        self.recipe = recipe
        backbone = archs.build(recipe.arch, recipe.input, seed)
        neck = heads.projector(backbone.dim, recipe.hidden, recipe.dim)
        self.net = heads.Network(backbone, neck, nn.Identity())
        self.register_buffer("bank", torch.zeros(recipe.banks, n, recipe.dim))
        self.register_buffer("visited", torch.zeros(n, dtype=torch.bool))
        self.register_buffer("labels", torch.full((recipe.heads, n), -1, dtype=torch.int32))
        self.register_buffer("prototypes", torch.zeros(recipe.heads, recipe.prototypes, recipe.dim))
        self.register_buffer("previous", self.labels[0].clone())
        self.register_buffer("figures", torch.zeros(recipe.heads, 4, dtype=torch.float64))

    def start(self, data: TrainingData) -> None:
        """Fills the banks in the order of the first epoch, one crop at a time, with batch statistics.

        The views are those of no epoch: from the very views that it was made of, a label is too easy to tell.
        """
        crops = [changed(view, count=1) for view in self.recipe.views for _ in range(view.count)]
        order = self.order(0, len(data.split), data.seed)
        with torch.no_grad(), autocast(data.device, self.recipe.precision):
            for batch in data.batches(order, crops[: self.recipe.banks], epoch=-1):
                self._remember(batch.index, torch.stack([self.net([view])[0] for view in batch.views]))

    def _remember(self, index: Tensor, z: Tensor) -> None:
        """Writes features z (J, b, D) of this process's images into every process's banks."""
        every = dist.all_gather_rows(index, equal=True)
        self.bank[:, every] = dist.all_gather_rows(z.transpose(0, 1).contiguous(), equal=True).transpose(0, 1)
        self.visited[every] = True

    def before_epoch(self, epoch: int, data: TrainingData) -> None:
        recipe = self.recipe
        mine = torch.from_numpy(share(len(data.split), dist.rank(), dist.world_size())).to(data.device)
        mine = mine[self.visited[mine]]
        self.previous = self.labels[0].clone()
        self.labels.fill_(-1)
        for q in range(recipe.heads):
            found = kmeans.kmeans(
                self.bank[q % recipe.banks, mine],
                recipe.prototypes,
                recipe.kmeans_iterations,
                "cosine",
                derive(data.seed, epoch, q),
                row_ids=mine,
                empty=recipe.empty,
                backend=recipe.kmeans_backend,
            )
            self.prototypes[q], self.figures[q] = found.centroids, health.of_kmeans(found)
            self.labels[q, self.visited] = dist.all_gather_rows(
                found.labels
            )  # shares are in the order of ids
        self.visited.zero_()

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        """Mean over heads of the cross-entropy of every crop to its
        image's label; images without one do not count.
        """
        recipe, views = self.recipe, len(batch.views)
        z, _ = net(batch.views)
        with exact(self.device):
            losses = [
                labelled_loss(
                    z @ self.prototypes[q].T / recipe.temperature, labels[batch.index].long().repeat(views)
                )
                for q, labels in enumerate(self.labels)
            ]
        banked = z.detach()[: recipe.banks * len(batch.index)].view(recipe.banks, -1, recipe.dim)
        return Loss(torch.stack(losses).mean(), (batch.index, banked))

    def after_step(self, at: At, *seen: Tensor) -> None:
        self._remember(*seen)

    def epoch_diagnostics(self, data: TrainingData, at: At, last: Loss) -> dict[str, float | str]:
        """Of each head's clustering (name_0, name_1, ...) and of the features that the epoch has written.

        Names without a head: of k-means the mean over heads, of sizes and labelings the first head's, of
        features and warnings the worst.
        """
        k, labels = self.recipe.prototypes, self.labels[0]
        counts = torch.stack([torch.bincount(head[head >= 0], minlength=k) for head in self.labels])
        rank = min(float(health.effective_rank(bank[self.visited])) for bank in self.bank)
        figures = health.kmeans_figures(self.figures) | health.sizes(counts[0])
        for q, found in enumerate(self.figures):
            each = health.kmeans_figures(found) | health.sizes(counts[q])
            figures |= {f"{name}_{q}": value for name, value in each.items()}
        figures |= agreement.compare(labels, self.previous, data.labels)
        figures |= {"coverage": float((labels >= 0).float().mean()), "effective_rank": rank}
        return {**figures, **health.warning(counts, rank, ADVICE)}

    def clustering(self) -> Clustering:
        """The projector and the prototypes of every head."""
        return Clustering("cosine", self.prototypes, projection(self.net.neck))

    def check(self) -> None:
        assert int(self.labels.max()) < self.recipe.prototypes, "a label is out of range"
        assert bool(((self.prototypes.norm(dim=2) - 1).abs() < 1e-3).all()), "a prototype has not unit length"
        assert bool(((self.bank[:, self.visited].norm(dim=2) - 1).abs() < 1e-3).all()), (
            "a feature has not unit length"
        )


def labelled_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over rows whose label is not -1; zero, with zero gradients, where there is none.

    Processes average their losses: each divides by its share of the labelled rows of all.
    """
    total = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
    labelled = dist.mean((labels >= 0).sum().float())
    return total / labelled.clamp_min(1 / dist.world_size())
