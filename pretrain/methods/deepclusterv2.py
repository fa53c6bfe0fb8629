"""DeepCluster-v2 (Caron et al., NeurIPS 2020, arXiv 2006.09882): spherical k-means on features of the last epoch.

State: banks E (J, N, D) of unit features of crops 0..J-1, labels A (Q, N), prototypes C (Q, K, D).
Before each epoch, for every head q:   C_q, A_q = k-means of the rows of E_(q mod J) that the last epoch visited
Per step, all crops v, large and small:   loss = mean_q CE(z_v . C_q / T, A_q)   over images that have a label
then the rows of the batch in E take the features of this step, one epoch before they are used.

N images, D dimensions, K prototypes per head, J banks, Q heads. Prototypes are plain tensors, never in the optimiser:
the published recipes freeze them for longer than they run. Banks are addressed by sample id and equal on every
process (0.66 GB each for ImageNet, and one gather of J B D numbers per step), so a run resumes with any number of
processes. k-means starts from rows of all processes, where the released code takes those of the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pretrain.lazy import F, backbone, clustering, dist, health, network, partitions, torch
from pretrain.method import Data, Method, autocast, derive, share
from pretrain.recipe import Cosine, Input, Recipe, View

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pretrain.loader import Batch

ADVICE = "try a lower learning rate, fewer prototypes, or empty = 'split'"


@dataclass(frozen=True, kw_only=True)
class DeepClusterV2Recipe(Recipe):
    """DeepCluster-v2's constants; defaults are the paper's."""

    prototypes: int = 3000  # K
    heads: int = 3  # Q
    banks: int = 2  # J: crops whose features are clustered
    dim: int = 128  # D
    hidden: int = 2048
    temperature: float = 0.1
    kmeans_iterations: int = 10
    empty: Literal["keep", "split"] = "keep"  # a prototype without images stays where it is, or splits another


class DeepClusterV2(Method):
    """Backbone and projector onto the unit sphere; the heads are products with fixed prototypes."""

    def __init__(self, recipe: DeepClusterV2Recipe, n: int, device: torch.device, seed: int) -> None:
        self.recipe, self.device = recipe, device
        self.backbone = backbone.build(recipe.arch, recipe.input, seed)
        neck = network.projector(self.backbone.dim, recipe.hidden, recipe.dim)
        self.net = network.Network(self.backbone, neck, torch.nn.Identity())
        self.bank = torch.zeros(recipe.banks, n, recipe.dim, device=device)
        self.visited = torch.zeros(n, dtype=torch.bool, device=device)  # since the last clustering
        self.labels = torch.full((recipe.heads, n), -1, dtype=torch.int32, device=device)  # -1: none, ignored
        self.prototypes = torch.zeros(recipe.heads, recipe.prototypes, recipe.dim, device=device)
        self._previous = self.labels[0].clone()
        self._kmeans = torch.zeros(recipe.heads, 4, dtype=torch.float64, device=device)
        self._seen: tuple[Tensor, Tensor] | None = None

    def start(self, data: Data) -> None:
        """Fills the banks in the order of the first epoch, one crop at a time, with batch statistics.

        The views are those of no epoch: from the very views that it was made of, a label is too easy to tell.
        """
        crops = [replace(view, count=1) for view in self.recipe.views for _ in range(view.count)]
        order = self.order(0, len(data.split), data.seed)
        with torch.no_grad(), autocast(self.device, self.recipe.precision):
            for batch in data.batches(order, crops[: self.recipe.banks], epoch=-1):
                self._remember(batch.index, torch.stack([self.net([view])[0] for view in batch.views]))

    def _remember(self, index: Tensor, z: Tensor) -> None:
        """Writes features z (J, b, D) of this process's images into every process's banks."""
        every = dist.all_gather_rows(index, equal=True)
        self.bank[:, every] = dist.all_gather_rows(z.transpose(0, 1).contiguous(), equal=True).transpose(0, 1)
        self.visited[every] = True

    def before_epoch(self, epoch: int, data: Data) -> None:
        recipe = self.recipe
        mine = torch.from_numpy(share(len(data.split), dist.rank(), dist.world_size())).to(self.device)
        mine = mine[self.visited[mine]]
        self._previous = self.labels[0].clone()
        self.labels.fill_(-1)
        for q in range(recipe.heads):
            found = clustering.kmeans(
                self.bank[q % recipe.banks, mine],
                recipe.prototypes,
                recipe.kmeans_iterations,
                "cos",
                derive(data.seed, epoch, q),
                row_ids=mine,
                empty=recipe.empty,
            )
            self.prototypes[q], self._kmeans[q] = found.centroids, health.of_kmeans(found)
            self.labels[q, self.visited] = dist.all_gather_rows(found.labels)  # shares are in the order of ids
        self.visited.zero_()

    def loss(self, net: nn.Module, batch: Batch) -> Tensor:
        """Mean over heads of the cross-entropy of every crop to its image's label; images without one do not count."""
        recipe, views = self.recipe, len(batch.views)
        z, _ = net(batch.views)
        self._seen = batch.index, z.detach()[: recipe.banks * len(batch.index)].view(recipe.banks, -1, recipe.dim)
        with autocast(self.device, "fp32"):
            losses = [
                labelled_loss(z @ self.prototypes[q].T / recipe.temperature, labels[batch.index].long().repeat(views))
                for q, labels in enumerate(self.labels)
            ]
        return torch.stack(losses).mean()

    def after_step(self, step: int) -> None:
        assert self._seen is not None
        self._remember(*self._seen)

    def state(self) -> dict[str, Tensor]:
        memories = {"bank": self.bank, "visited": self.visited, "labels": self.labels, "prototypes": self.prototypes}
        return {**memories, "previous": self._previous, "kmeans": self._kmeans}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.bank, self.visited, self.labels = state["bank"], state["visited"], state["labels"]
        self.prototypes, self._previous, self._kmeans = state["prototypes"], state["previous"], state["kmeans"]

    def epoch_diagnostics(self, data: Data) -> dict[str, float | str]:
        """Of each head's clustering (name_0, name_1, ...) and of the features that the epoch has written.

        Names without a head: of k-means the mean over heads, of sizes and labelings the first head's, of features
        and warnings the worst.
        """
        k, labels = self.recipe.prototypes, self.labels[0]
        counts = torch.stack([torch.bincount(head[head >= 0], minlength=k) for head in self.labels])
        rank = min(float(health.effective_rank(bank[self.visited])) for bank in self.bank)
        figures = health.kmeans_figures(self._kmeans) | health.sizes(counts[0])
        for q, found in enumerate(self._kmeans):
            each = health.kmeans_figures(found) | health.sizes(counts[q])
            figures |= {f"{name}_{q}": value for name, value in each.items()}
        figures |= partitions.compare(labels, self._previous, data.labels)
        figures |= {"coverage": float((labels >= 0).float().mean()), "effective_rank": rank}
        return {**figures, **health.warning(counts, rank, ADVICE)}

    def check(self) -> None:
        assert int(self.labels.max()) < self.recipe.prototypes, "a label is out of range"
        assert bool(((self.prototypes.norm(dim=2) - 1).abs() < 1e-3).all()), "a prototype has not unit length"
        assert bool(((self.bank[:, self.visited].norm(dim=2) - 1).abs() < 1e-3).all()), "a feature has not unit length"


def labelled_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over rows whose label is not -1; zero, with zero gradients, where there is none."""
    total = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
    return total / (labels >= 0).sum().clamp_min(1)


_INPUT = Input(size=224, resize=256, std=(0.228, 0.224, 0.225))
_VIEW = View(size=224, count=2, jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, gray=0.2, blur=0.5)
_SMALL = replace(_VIEW, size=96, count=4, scale=(0.05, 0.14))
_400 = DeepClusterV2Recipe(
    name="rn50_in1k_deepclusterv2_400ep_2x160_4x96",
    arch="resnet50",
    input=_INPUT,
    views=(replace(_VIEW, size=160), _SMALL),
    epochs=400,
    batch_size=4096,
    lr=4.8,
    weight_decay=1e-6,
    optimizer="larc",
    schedule=Cosine(warmup=10, start=0.0625, final=0.001),
    precision="fp32",
    sync_bn=True,
    bn_group=512,
)
PAPER = (
    _400,
    replace(_400, name="rn50_in1k_deepclusterv2_400ep_2x224", views=(_VIEW,)),
    replace(
        _400,
        name="rn50_in1k_deepclusterv2_800ep_2x224_6x96",
        views=(replace(_VIEW, scale=(0.14, 1.0)), replace(_SMALL, count=6)),
        epochs=800,
    ),
)
DEMO = (
    replace(
        _400,
        name="deepclusterv2_resnet10-narrow_demo",
        arch="resnet10_narrow",
        input=Input(size=32, resize=32),
        views=(View(size=32, count=2, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2, mix=0.5),),
        epochs=50,
        batch_size=64,
        lr=0.2,
        weight_decay=1e-5,
        optimizer="sgd",
        schedule=Cosine(warmup=3, final=0.001),
        precision="bf16",
        bn_group=0,
        prototypes=40,
        hidden=256,
        dim=64,
    ),
)
SMOKE = (replace(DEMO[0], name="deepclusterv2_resnet10-narrow_smoke", epochs=6, batch_size=64),)
