"""SwAV (Caron et al., NeurIPS 2020, arXiv 2006.09882): the codes of one view are predicted from the others.

    s_vb = C z_vb                                 unit features z (V, B, D), unit prototypes C (K, D)
    q_a  = Sinkhorn(exp(s_a / epsilon))           codes of the assignment views a, equal shares of the batch (and queue)
    loss = mean_a mean_{v != a} -sum_k q_abk log softmax_k(s_vb / T)

V views, B batch over all processes, D dimensions, K prototypes. The queue holds features of earlier batches so that
Sinkhorn sees enough rows where the batch is small; it is a ring buffer, the same on every process, and each process
scores its share of it. Labels, kept for diagnostics alone, are the largest code of the first view.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pretrain.faults import Fault
from pretrain.lazy import F, backbone, dist, health, network, partitions, torch
from pretrain.method import Data, Method, autocast, share
from pretrain.recipe import Cosine, Input, Recipe, View

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pretrain.loader import Batch

# exp(-1 / epsilon), divided by a sum of exp(1 / epsilon) over a batch, must stay above 0: it does in fp32 down to the
# first of these, in fp64 down to the second.
FP32_EPSILON = 0.03
SMALLEST_EPSILON = 0.003
ADVICE = "try a lower epsilon, a longer freeze, a lower learning rate, or a shorter or later queue"


@dataclass(frozen=True, kw_only=True)
class SwAVRecipe(Recipe):
    """SwAV's constants; defaults are the paper's at batch 4096."""

    prototypes: int = 3000  # K
    dim: int = 128  # D
    hidden: int = 2048
    temperature: float = 0.1
    epsilon: float = 0.05
    sinkhorn_iterations: int = 3
    assign_views: int = 2  # the first views get codes
    freeze: int = 313  # iterations before the prototypes move
    queue: int = 0  # features of earlier batches, per assignment view, over all processes
    queue_from: int = 15  # epoch from which the queue fills; used once full


class SwAV(Method):
    """Backbone, projector onto the unit sphere, prototypes."""

    def __init__(self, recipe: SwAVRecipe, n: int, device: torch.device, seed: int) -> None:
        if recipe.epsilon < SMALLEST_EPSILON:
            said = f"epsilon {recipe.epsilon} is too small for its exponentials; choose at least {SMALLEST_EPSILON}"
            raise Fault("bad-config", f"{recipe.name}: {said}")
        if 0 < recipe.queue < recipe.batch_size:
            said = f"a queue of {recipe.queue} is shorter than a batch of {recipe.batch_size}; lengthen it or set 0"
            raise Fault("bad-config", f"{recipe.name}: {said}")
        self.recipe, self.device, self.per_epoch = recipe, device, max(1, n // recipe.batch_size)
        self.backbone = backbone.build(recipe.arch, recipe.input, seed)
        neck = network.projector(self.backbone.dim, recipe.hidden, recipe.dim)
        self.head = network.Prototypes(recipe.prototypes, recipe.dim)
        self.net = network.Network(self.backbone, neck, self.head)
        length = recipe.queue // recipe.batch_size * recipe.batch_size
        self.queue = torch.zeros(recipe.assign_views, length, recipe.dim, device=device)
        self.pushed = 0  # features that have entered the queue
        self.labels = torch.full((n,), -1, dtype=torch.int32, device=device)
        self._previous = self.labels.clone()
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None
        self._step, self._loss = 0, torch.zeros((), device=device)  # the latest, for diagnostics

    def loss(self, net: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy between the codes of each assignment view and the predictions of all other views."""
        recipe, b = self.recipe, len(batch.index)
        with torch.no_grad():
            self.head.weight.copy_(F.normalize(self.head.weight))
        z, scores = net(batch.views)
        z, s = z.view(-1, b, z.shape[1]), scores.view(-1, b, scores.shape[1])
        with autocast(self.device, "fp32"):
            q = self.codes(s[: recipe.assign_views])
            self._seen = batch.index, z[: recipe.assign_views].detach(), q[0].argmax(1).int()
            loss = swapped_loss(s, q, recipe.temperature)
        self._loss = loss.detach()
        return loss

    def codes(self, scores: Tensor) -> Tensor:
        """Codes (A, b, K) of this process's rows of a batch from their scores, the queue's rows taking part."""
        with torch.no_grad():
            rows = torch.cat([self._queued() @ self.head.weight.T, scores], 1)
            codes = sinkhorn(rows, self.recipe.epsilon, self.recipe.sinkhorn_iterations)
            return codes[:, -scores.shape[1] :]

    def _queued(self) -> Tensor:
        """This process's share of the queue (A, l, D): empty until the queue is full."""
        length = self.queue.shape[1]
        slots = share(length if self.pushed >= length else 0, dist.rank(), dist.world_size())
        first = int(slots[0]) if len(slots) else 0
        return self.queue[:, first : first + len(slots)]

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        if step <= self.recipe.freeze:
            self.head.weight.grad = None

    def after_step(self, step: int) -> None:
        assert self._seen is not None
        (index, z, code), self._step = self._seen, step
        self.labels[dist.all_gather_rows(index, equal=True)] = dist.all_gather_rows(code, equal=True)
        if self.queue.shape[1] and (step - 1) // self.per_epoch >= self.recipe.queue_from:
            every = dist.all_gather_rows(z.transpose(0, 1).contiguous(), equal=True).transpose(0, 1)
            at = self.pushed % self.queue.shape[1]  # a multiple of the batch, as the length is
            self.queue[:, at : at + every.shape[1]] = every
            self.pushed += every.shape[1]

    def state(self) -> dict[str, Tensor]:
        pushed = torch.tensor(self.pushed, device=self.device)
        return {"queue": self.queue, "pushed": pushed, "labels": self.labels, "previous": self._previous}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.queue, self.labels, self._previous = state["queue"], state["labels"], state["previous"]
        self.pushed = int(state["pushed"])

    def epoch_diagnostics(self, data: Data) -> dict[str, float | str]:
        assert self._seen is not None
        counts = torch.bincount(self.labels[self.labels >= 0], minlength=self.recipe.prototypes)
        rank = float(health.effective_rank(self._seen[1].flatten(0, 1)))
        figures = health.sizes(counts) | partitions.compare(self.labels, self._previous, data.labels)
        self._previous = self.labels.clone()
        stuck = health.stuck(float(self._loss), self.recipe.prototypes, ADVICE) if self._late() else {}
        return {**figures, "effective_rank": rank, **health.warning(counts, rank, ADVICE), **stuck}

    def _late(self) -> bool:
        """Whether a quarter of the run is over: until then a loss of equal predictions is no alarm."""
        return 4 * self._step > self.recipe.epochs * self.per_epoch


def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Codes fp32 (A, n, K) of this process's rows: each sums to 1, and all prototypes have nearly equal totals.

    scores (A, n, K) in [-1, 1]. Alternately every prototype's total over the rows of all processes is made equal,
    then every row's sum 1. The A problems are independent and share one all-reduce (A K numbers) per iteration. The
    paper's division by the sum of everything, and its factors K and B, cancel. In fp64 where fp32 has not the range.
    """
    Q = torch.exp((scores.float() if epsilon >= FP32_EPSILON else scores.double()) / epsilon)
    for _ in range(iterations):
        Q /= dist.all_reduce_sum_(Q.sum(1, keepdim=True))
        Q /= Q.sum(2, keepdim=True)
    return Q.float()


def swapped_loss(s: Tensor, q: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of scores s (V, B, K) to codes q (A, B, K) over all pairs of different views."""
    predicted = F.log_softmax(s / temperature, dim=2)
    each = -torch.einsum("abk,vbk->av", q, predicted) / s.shape[1]
    other = 1 - torch.eye(len(q), len(s), device=s.device)
    return (each * other).sum() / other.sum()


_INPUT = Input(size=224, resize=256, std=(0.228, 0.224, 0.225))
_VIEW = View(size=224, count=2, scale=(0.14, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, gray=0.2, blur=0.5)
_SMALL = replace(_VIEW, size=96, count=6, scale=(0.05, 0.14))
_400 = SwAVRecipe(
    name="rn50_in1k_swav_400ep_2x224_6x96",
    arch="resnet50",
    input=_INPUT,
    views=(_VIEW, _SMALL),
    epochs=400,
    batch_size=4096,
    lr=4.8,
    weight_decay=1e-6,
    optimizer="larc",
    schedule=Cosine(warmup=10, start=0.0625, final=0.001),
    sync_bn=True,
    bn_group=512,
)
_BATCH_256 = replace(
    _400,
    batch_size=256,
    lr=0.6,
    schedule=Cosine(final=0.001),
    bn_group=0,
    freeze=5005,
    queue=3840,
)
_WIDE = replace(_400, views=(_VIEW, replace(_SMALL, count=4)), bn_group=256)
PAPER = (
    _400,
    replace(_400, name="rn50_in1k_swav_100ep_2x224_6x96", epochs=100),
    replace(_400, name="rn50_in1k_swav_200ep_2x224_6x96", epochs=200),
    replace(_400, name="rn50_in1k_swav_800ep_2x224_6x96", epochs=800),
    replace(_400, name="rn50_in1k_swav_400ep_2x224", views=(replace(_VIEW, scale=(0.08, 1.0)),)),
    replace(_BATCH_256, name="rn50_in1k_swav_200ep_bs256_2x224_6x96", epochs=200),
    replace(_BATCH_256, name="rn50_in1k_swav_400ep_bs256_2x224_6x96"),
    replace(_WIDE, name="rn50w2_in1k_swav_400ep_2x224_4x96", arch="resnet50w2"),
    replace(
        _WIDE,
        name="rn50w4_in1k_swav_400ep_2x224_4x96",
        arch="resnet50w4",
        batch_size=2560,
        bn_group=320,
        queue=2560,
        queue_from=0,
    ),
)
DEMO = (
    replace(
        _400,
        name="swav_resnet10-narrow_demo",
        arch="resnet10_narrow",
        input=Input(size=32, resize=32),
        views=(View(size=32, count=2, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2),),
        epochs=40,
        batch_size=64,
        lr=0.06,
        weight_decay=1e-5,
        optimizer="sgd",
        schedule=Cosine(warmup=1, final=0.001),
        precision="bf16",
        bn_group=0,
        prototypes=30,
        hidden=256,
        dim=64,
        epsilon=0.01,  # at 0.03 a narrow cone of features has uniform codes, which teach nothing: it stays one
        freeze=0,
    ),
)
SMOKE = (replace(DEMO[0], name="swav_resnet10-narrow_smoke", epochs=6),)
