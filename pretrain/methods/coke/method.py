"""CoKe (Qian et al., CVPR 2022, arXiv 2105.11527): online k-means whose clusters have a least size.

Q clusterings of K_q clusters each, side by side in the columns k of one matrix. State: centroids C of the
last epoch and those that grow in this one, C' (sum K_q, D); duals rho and counts n of this epoch (sum K_q,);
labels y (Q, N). Per step, with unit projections z and predictions p of every view, and f the mean of z over
the large views:

    loss = CE(p . C / T, y) and CE(z . C / T, y), views, clusterings and both branches averaged
    label of the step   l_q = argmax_k f . C'_k + rho_k
    duals               rho_k <- max(0, rho_k - rate (share of the batch in k - ratio / K_q))
    centroids           C'_k <- unit((n_k C'_k + sum of the f in k) / (n_k + their number))

The loss sees the labels and centroids of the last epoch (the first epoch, at rate 0, its own labels), so that
clustering and discrimination do not chase each other. With several views a part 1 - `hard_weight` of each
target is softmax(z . C / T) of the other large view. From epoch `mixture_from` on centroids are averaged over
epochs, and so are labels: an image keeps its `mixture` weightiest ones.

N images, D dimensions, B batch over all processes, b of one. Every process updates the same state from the
same gathered rows; labels are computed by the process that has the image.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.base import dist
from pretrain.base.numerics import exact
from pretrain.cluster import agreement, health
from pretrain.cluster.nearest import matmul_precision
from pretrain.data.loader import Batch
from pretrain.methods.coke.recipes import LARGE, CoKeRecipe
from pretrain.nets import archs, heads
from pretrain.nets.clusters import Clustering, projection
from pretrain.train.method import At, Loss, Method, TrainingData, derive

ADVICE = "try a lower learning rate, fewer clusters, a larger 'ratio' or 'dual_rate'"


class CoKe(Method):
    """Backbone, projector and predictor; every view passes them alone."""

    net: heads.Apart
    centroids: Tensor  # C (sum K, D), unit rows, of the last epoch
    current: Tensor  # C' (sum K, D)
    duals: Tensor  # rho (sum K,)
    counts: Tensor  # n (sum K,): images of this epoch
    labels: Tensor  # y int32 (Q, N), the latest; -1: not seen yet
    mixed: Tensor  # int32 (Q, N, mixture): labels that are averaged, -1: none; no row where none are
    weights: Tensor  # of those, summing to 1
    previous: Tensor  # labels (N,) of the first clustering at the end of the last epoch

    def __init__(self, recipe: CoKeRecipe, n: int, seed: int) -> None:
        super().__init__(recipe, n, seed)
        self.recipe = recipe
        backbone = archs.build(recipe.arch, recipe.input, seed)
        neck, predictor = self._heads(backbone.dim)
        self.net = heads.Apart(backbone, neck, predictor)
        self.spans = [slice(a, b) for a, b in pairwise(accumulate(recipe.clusterings, initial=0))]
        total, q = sum(recipe.clusterings), len(recipe.clusterings)
        generator = torch.Generator().manual_seed(derive(seed, 1))  # the same on every process
        self.register_buffer("centroids", F.normalize(torch.randn(total, recipe.dim, generator=generator)))
        self.register_buffer("current", self.centroids.clone())
        self.register_buffer("duals", torch.zeros(total))
        self.register_buffer("counts", torch.zeros(total))
        self.register_buffer("labels", torch.full((q, n), -1, dtype=torch.int32))
        several = (q, n if recipe.mixture_from else 0, recipe.mixture)
        self.register_buffer("mixed", torch.full(several, -1, dtype=torch.int32))
        self.register_buffer("weights", torch.zeros(several))
        self.register_buffer("previous", self.labels[0].clone())

    def _heads(self, inside: int) -> tuple[nn.Module, nn.Module]:
        """Three layers with batch norm after each, the last one too, and two layers behind them."""
        hidden, dim = self.recipe.hidden, self.recipe.dim
        last = nn.Linear(hidden, dim), nn.BatchNorm1d(dim, affine=not self.recipe.centred)
        neck = [*_block(inside, hidden), *_block(hidden, hidden), *last]
        return nn.Sequential(*neck), nn.Sequential(*_block(dim, hidden), nn.Linear(hidden, dim))

    def averages(self, epoch: int) -> bool:
        """Whether centroids and labels are averaged over epochs."""
        return 0 < self.recipe.mixture_from <= epoch

    def loss(self, net: nn.Module, batch: Batch, at: At) -> Loss:
        """Of the labels that the last epoch gave to the batch; `seen` are ids, mean projections and their
        labels.
        """
        recipe, b = self.recipe, len(batch.index)
        z, p = net(batch.views)
        with exact(self.device):
            z, p = (F.normalize(x.float()).view(-1, b, recipe.dim) for x in (z, p))
            features = z[:LARGE].detach().mean(0)
            fresh = self.assign(features, at.epoch)
            labels, weights = self.targets(batch.index, fresh, at.epoch)
            each = [
                self._of(p, z, span, y, w) for span, y, w in zip(self.spans, labels, weights, strict=True)
            ]
        return Loss(torch.stack(each).mean(), (batch.index, features, fresh.T))

    def _of(self, p: Tensor, z: Tensor, span: slice, labels: Tensor, weights: Tensor) -> Tensor:
        """The loss of one clustering, whose centroids are those of a span."""
        scaled = self.centroids[span].T / self.recipe.temperature
        return clustering_loss(p @ scaled, z @ scaled, labels, weights, self.recipe)

    @torch.no_grad()
    def assign(self, features: Tensor, epoch: int) -> Tensor:
        """Labels int64 (Q, b) of features (b, D) in every clustering: argmax of product and dual."""
        with matmul_precision("fp32"):
            score = features @ (self.centroids if self.averages(epoch) else self.current).T + self.duals
        return torch.stack([score[:, span].argmax(1) for span in self.spans])

    def targets(self, index: Tensor, fresh: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Labels int64 (Q, b, L) and weights (Q, b, L) of images: one label, or those that are averaged.

        An image without a label of an earlier epoch, as all are in the first, has its fresh one.
        """
        hard = self.labels[:, index].long()
        hard = torch.where((hard < 0) | (epoch == 0), fresh, hard)[:, :, None]
        if not self.averages(epoch):
            return hard, torch.ones_like(hard, dtype=torch.float32)
        weights = self.weights[:, index]
        kept = weights > 0
        weights = (weights / self.recipe.mixture_temperature).masked_fill(~kept, -torch.inf).softmax(2)
        some = kept.any(2, keepdim=True)  # else the image was not seen since: its latest label
        first = torch.arange(weights.shape[2], device=weights.device) == 0
        labels = torch.where(some, self.mixed[:, index].long().clamp_min(0), hard)
        return labels, torch.where(some, weights, first.float())

    def after_step(self, at: At, *seen: Tensor) -> None:
        index, features, labels = (dist.all_gather_rows(x.contiguous(), equal=True) for x in seen)
        labels = labels.T
        with matmul_precision("fp32"):
            self._cluster(features, labels, at.epoch)
        if self.averages(at.epoch):
            self._mix(index, labels, at.epoch - self.recipe.mixture_from)
        self.labels[:, index] = labels.int()

    def _cluster(self, features: Tensor, labels: Tensor, epoch: int) -> None:
        """Moves duals, centroids and counts by features (B, D) with labels (Q, B)."""
        recipe = self.recipe
        for span, k, y in zip(self.spans, recipe.clusterings, labels, strict=True):
            member = F.one_hot(y, k).float()  # its product adds in one order, unlike a GPU's atomic sums
            n, sums = member.sum(0), member.T @ features
            self.duals[span] -= recipe.dual_rate * (n / len(features) - recipe.ratio / k)
            total = (self.counts[span] + n).clamp_min(1)[:, None]
            mean = (self.counts[span][:, None] * self.current[span] + sums) / total
            moved = mean if self.averages(epoch) else F.normalize(mean)
            self.current[span] = torch.where(n[:, None] > 0, moved, self.current[span])
            self.counts[span] += n
        if recipe.ratio < 1:
            self.duals.clamp_min_(0)

    def _mix(self, index: Tensor, labels: Tensor, since: int) -> None:
        """Averages labels (Q, B) into those that the images keep, 1 / (since + 1) of the new one."""
        if since == 0:
            mixed, weights = (
                torch.full_like(self.mixed[:, index], -1),
                torch.zeros_like(self.weights[:, index]),
            )
        else:
            mixed, weights = self.mixed[:, index], self.weights[:, index]
        self.mixed[:, index], self.weights[:, index] = mix(mixed, weights, labels.int(), 1 / (since + 1))

    def epoch_diagnostics(self, data: TrainingData, at: At, last: Loss) -> dict[str, float | str]:
        """Sizes of every clustering in the epoch (name_0, name_1, ...); names without a number are the
        first's, the warning is the first that there is.
        """
        counts = [self.counts[span].long() for span in self.spans]
        rank = float(health.effective_rank(last.seen[1]))
        figures = health.sizes(counts[0]) | agreement.compare(self.labels[0], self.previous, data.labels)
        for q, each in enumerate(counts):
            figures |= {f"{name}_{q}": value for name, value in health.sizes(each).items()}
        warnings = [health.warning(each, rank, ADVICE) for each in counts]
        figures |= {"effective_rank": rank, "dual_max": float(self.duals.max())}
        return {**figures, **next((found for found in warnings if found), {})}

    def after_epoch(self, epoch: int) -> None:
        """The centroids that the next epoch is taught with."""
        if self.averages(epoch):
            share = 1 / (epoch - self.recipe.mixture_from + 1)
            self.current = F.normalize((1 - share) * self.centroids + share * F.normalize(self.current))
        self.centroids = self.current.clone()
        self.counts.zero_()
        self.previous = self.labels[0].clone()

    def clustering(self) -> Clustering:
        """The projector and the centroids of the first clustering: those of a file are of one K."""
        return Clustering(
            "cosine", self.centroids[self.spans[0]][None], projection(self.net.neck, heads.Unit())
        )

    def check(self) -> None:
        sizes = torch.tensor(self.recipe.clusterings, device=self.device)[:, None]
        assert bool((self.labels < sizes).all()), "a label is out of range"
        assert self.recipe.ratio == 1 or float(self.duals.min()) >= 0, "a dual is negative"
        assert bool(((self.centroids.norm(dim=1) - 1).abs() < 1e-3).all()), "a centroid has not unit length"


def clustering_loss(p: Tensor, z: Tensor, labels: Tensor, weights: Tensor, recipe: CoKeRecipe) -> Tensor:
    """The loss of one clustering from logits p and z (V, b, K) of predictions and projections, large views
    first.

    labels, weights: (b, L), the hard target. Both branches have it and the other large views' soft
    assignments.
    """
    soft = z[:LARGE].detach().softmax(2)
    predicted, projected = (branch_loss(x, soft, labels, weights, recipe) for x in (p, z))
    return recipe.prediction_weight * predicted + (1 - recipe.prediction_weight) * projected


def branch_loss(x: Tensor, soft: Tensor, labels: Tensor, weights: Tensor, recipe: CoKeRecipe) -> Tensor:
    """Mean cross-entropy of logits x (V, b, K) over pairs of a view and another, large one (A, b, K).

    The target of a pair is `hard_weight` of the labels and the rest of the other view's; one view has the
    labels alone. Pairs of large and of small views are averaged apart.
    """
    views, b, _ = x.shape
    log_p = x.log_softmax(2)
    hard = -(weights * log_p.gather(2, labels.expand(views, -1, -1))).sum(2).mean(1)
    if views == 1:
        return hard[0]
    each = recipe.hard_weight * hard[:, None]
    each = each - (1 - recipe.hard_weight) * torch.einsum("vbk,abk->va", log_p, soft) / b
    other = 1 - torch.eye(views, LARGE, device=x.device)
    large = (each * other)[:LARGE].sum() / other[:LARGE].sum()
    if views == LARGE:
        return large
    return recipe.large_weight * large + (1 - recipe.large_weight) * each[LARGE:].mean()


def mix(mixed: Tensor, weights: Tensor, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Labels (..., L) that are kept and their weights after a new label (...,) has entered with a share.

    A label that is kept already grows; another one takes the place of the lightest, whose weight the rest
    inherit. -1 is an empty place.
    """
    same = mixed == labels[..., None]
    known = same.any(-1, keepdim=True)
    place = torch.where(known, same.int().argmax(-1, keepdim=True), weights.argmin(-1, keepdim=True))
    lost = weights.gather(-1, place).masked_fill(known, 0)
    rest = weights.scatter_add(-1, place, -lost) * (1 - share) / (1 - lost)
    new = torch.full_like(lost, share)
    return mixed.scatter(-1, place, labels[..., None]), rest.scatter_add(-1, place, new)


def _block(inside: int, outside: int) -> list[nn.Module]:
    return [nn.Linear(inside, outside), nn.BatchNorm1d(outside), nn.ReLU(inplace=True)]
