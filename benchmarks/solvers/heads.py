"""Linear heads on the maps of a frozen backbone, each trained on its own, all in one pass over the images.

Nothing is shared but the pass: the losses are summed, and a head whose loss is not finite stops alone.
Several processes take whole batches in turn through the backbone, and give each other what heads see of it;
each trains some of the heads on every batch. No bit depends on how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import turns
from benchmarks.contract.task import Task
from benchmarks.solvers.classifiers import Heads, Inputs
from benchmarks.solvers.training import Head, Solver
from pretrain.base import dist, files
from pretrain.base.faults import Fault
from pretrain.base.numerics import autocast
from pretrain.data.augment import Ints
from pretrain.data.loader import Loader, open_loader
from pretrain.data.view import centre_view, sized
from pretrain.nets.backbone import MAPS
from pretrain.train import optim

Epoch = dict[str, list[int]]  # head -> hits among the first, and among the first five


class Course(NamedTuple):
    """Accuracies of a head in percent, by epoch ("epoch 1", ...)."""

    top1: dict[str, float]
    top5: dict[str, float]


class Trained(NamedTuple):
    """courses: of the heads that were trained to their end; lost: why the others were not."""

    courses: dict[str, Course]
    lost: dict[str, str]


def train(task: Task, heads: Sequence[Head]) -> Trained:
    """Trains the heads on the split `train` and tests them on `val` after every epoch; resumes after the last
    epoch saved in task.work. Raises Fault (nan) where no head has a finite loss.

    task.protocol.settings must be a Training. Heads on maps that a backbone does not give are lost.
    """
    have = len(task.backbone.dims)
    lacking = [head for head in heads if head.pool == "grid" and head.map < MAPS - have]
    said = f"its backbone gives only the last {have} of the {MAPS} maps"
    absent = {head.name: f"{head.name}: {said}" for head in lacking}
    evaluation = Evaluation(task, [head for head in heads if head.name not in absent])
    for epoch in range(evaluation.resume(), evaluation.epochs):
        if evaluation.live(epoch):
            evaluation.train(epoch)
            evaluation.test(epoch)
            evaluation.save(epoch)
    n = len(task.splits["val"])
    lost = {**absent, **evaluation.lost}
    names = [head.name for head in heads if head.name not in lost]
    return Trained({name: course(evaluation.history, name, n) for name in names}, lost)


def course(history: Sequence[Epoch], name: str, n: int) -> Course:
    """Accuracies of a head among n images, over the epochs that it was trained for."""
    rows = {f"epoch {e + 1}": row[name] for e, row in enumerate(history) if name in row}
    return Course(*({epoch: 100 * row[k] / n for epoch, row in rows.items()} for k in (0, 1)))


class Evaluation:
    """The state of heads in training. history: per epoch the hits of every head that was in training; lost:
    why a head is in training no more.
    """

    def __init__(self, task: Task, heads: Sequence[Head]) -> None:
        self.task, self.settings, self.input = task, task.protocol.settings, task.backbone.input
        self.declared = {head.name: head for head in heads}
        self.epochs = max(head.solver.epochs for head in heads)
        train, val = task.splits["train"], task.splits["val"]
        self.y = {
            role: torch.from_numpy(task.splits[role].labels).to(task.device) for role in ("train", "val")
        }
        views = [sized(view, self.input) for view in self.settings.views]
        self.trainer = open_loader(train, views, self.input, task.seed, task.device)
        self.tester = open_loader(val, [centre_view(self.input)], self.input, task.seed, task.device)
        torch.manual_seed(task.seed)
        blank = torch.zeros(2, 3, self.input.size, self.input.size, device=task.device)
        self.blank = self.maps([blank])[0]
        self.heads = Heads(heads, self.blank, len(train.classes), self.settings.pooled).to(task.device)
        self.solvers, groups = zip(*self._groups(), strict=True)
        self.optimizer = torch.optim.SGD(groups)
        self.history: list[Epoch] = []
        self.lost: dict[str, str] = {}

    def _groups(self) -> list[tuple[Solver, dict[str, Any]]]:
        """Parameters of all heads, those of one solver together, so that they take their steps together.

        A head that is not live has no gradient, and so stays. The scale and shift of a norm do not decay.
        """
        groups = []
        for solver in dict.fromkeys(head.solver for head in self.declared.values()):
            names = [name for name, head in self.declared.items() if head.solver == solver]
            for layers, decay in ((self.heads.linears, solver.weight_decay), (self.heads.norms, 0.0)):
                some = [p for name in names if name in layers for p in layers[name].parameters()]
                given = {"momentum": solver.momentum, "nesterov": solver.nesterov, "weight_decay": decay}
                if some:
                    groups.append((solver, {"params": some, "lr": solver.lr, **given}))
        return groups

    def live(self, epoch: int) -> list[str]:
        """The heads that are trained in an epoch: not lost, and their schedule has not ended."""
        return [
            name
            for name, head in self.declared.items()
            if name not in self.lost and epoch < head.solver.epochs
        ]

    def ours(self, epoch: int) -> list[str]:
        """The heads among them that this process trains and tests."""
        mine = list(self.declared)[dist.rank() :: dist.world_size()]
        return [name for name in self.live(epoch) if name in mine]

    def maps(self, views: list[Tensor]) -> list[list[Tensor]]:
        """Maps of each view (B, 3, S, S), which go through the frozen backbone together, in its precision; at
        their end the one that is averaged.
        """
        x = torch.cat(views).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(self.task.device, self.settings.precision):
            stages = self.task.backbone.eval().depths(x)
            parts = [m.split(len(views[0])) for m in stages]
        return [[part[i] for part in parts] for i in range(len(views))]

    def batches(
        self, loader: Loader, order: Ints, size: int, epoch: int, live: Sequence[str]
    ) -> Iterator[tuple[Inputs, Tensor]]:
        """What the live heads see of every batch, and its ids (b,), in order."""
        heads = [self.declared[name] for name in live]
        blank = self.heads.inputs([self.blank], heads)

        def mine() -> Iterator[list[Tensor]]:
            for batch in loader.batches(turns.my_batches(order, size), size, epoch):
                yield [batch.index, *self.heads.inputs(self.maps(batch.views), heads).values()]

        none = [torch.empty(0, dtype=torch.int64, device=self.task.device), *(x[:0] for x in blank.values())]
        for index, *seen in turns.every_batch(mine(), none, len(order), size):
            yield dict(zip(blank, seen, strict=True)), index

    def train(self, epoch: int) -> None:
        """One epoch of every live head."""
        n, live, ours = len(self.task.splits["train"]), self.live(epoch), self.ours(epoch)
        order = np.random.default_rng((self.task.seed, epoch)).permutation(n)
        finite = torch.ones(len(ours), dtype=torch.bool, device=self.task.device)
        self._set_rates(epoch)
        self.heads.train()
        for inputs, index in self.batches(self.trainer, order, self.settings.batch_size, epoch, live):
            if len(index) == 1 < n or not ours:
                continue  # the one image left over has no variance for batch norm
            truth = self.y["train"][index]
            losses = torch.stack([F.cross_entropy(one, truth) for one in self.heads(inputs, ours)])
            finite &= losses.detach().isfinite()
            self.heads.zero_grad()
            losses.sum().backward()
            self.optimizer.step()
        mine = [name for name, fine in zip(ours, finite.tolist(), strict=True) if not fine]
        lost = {name for names in dist.gather_object(mine) for name in names}
        self._lose([name for name in live if name in lost], epoch)

    def _set_rates(self, epoch: int) -> None:
        for solver, group in zip(self.solvers, self.optimizer.param_groups, strict=True):
            group["lr"] = solver.lr * optim.factor(solver.schedule, epoch, 1, solver.epochs)

    def _lose(self, names: list[str], epoch: int) -> None:
        """Takes heads out of training: with a loss that is not finite, predictions are no accuracy."""
        said = f"is not finite in epoch {epoch + 1}; lower its learning rate"
        self.lost |= {name: f"the loss of {name} {said}" for name in names}
        if len(self.lost) == len(self.declared):
            said = f"the loss of every head, {', '.join(self.declared)}, is not finite"
            raise Fault(
                "nan",
                f"{self.task.protocol.name}: {said} by epoch {epoch + 1}, so there is nothing to test; "
                "check the weights, then lower the learning rates",
            )

    def test(self, epoch: int) -> None:
        """Counts the hits of every live head on the validation split."""
        self.heads.eval()
        live, ours = self.live(epoch), self.ours(epoch)
        total = torch.zeros(len(ours), 2, dtype=torch.int64, device=self.task.device)
        order = np.arange(len(self.task.splits["val"]), dtype=np.int64)
        with torch.no_grad():
            for inputs, index in self.batches(self.tester, order, 256, 0, live) if live else ():
                found = [hits(one, self.y["val"][index]) for one in self.heads(inputs, ours)]
                total += torch.stack(found) if found else 0
        counted = dist.gather_object(dict(zip(ours, total.tolist(), strict=True)))
        every = {name: row for rows in counted for name, row in rows.items()}
        self.history.append({name: every[name] for name in live})
        top = 100 * max((row[0] for row in self.history[-1].values()), default=0) / len(order)
        self.task.report(epoch + 1, self.epochs, f"epoch {epoch + 1}/{self.epochs}, best head {top:.1f} %")

    def save(self, epoch: int) -> None:
        """Leaves the state of all heads, whoever trained them: another number of processes can go on."""
        self._exchange()
        if dist.rank():
            return
        state = {
            "epoch": epoch + 1,
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "lost": self.lost,
        }
        files.write(self.task.work / "state.pt", lambda aside: torch.save(state, aside))

    def _exchange(self) -> None:
        """Gives every process the layers and momenta of the heads that others train."""
        if dist.world_size() == 1:
            return
        stepped = dist.gather_object([self._momentum(p) is not None for p in self.heads.parameters()])
        began = dict(zip(self.heads.parameters(), zip(*stepped, strict=True), strict=True))
        for at, name in enumerate(self.declared):
            owner = at % dist.world_size()
            for layer in (
                layers[name] for layers in (self.heads.norms, self.heads.linears) if name in layers
            ):
                for tensor in (*layer.parameters(), *layer.buffers()):
                    dist.broadcast_(tensor, owner)
                for p in (p for p in layer.parameters() if began[p][owner]):
                    if self._momentum(p) is None:
                        self.optimizer.state[p]["momentum_buffer"] = torch.empty_like(p)
                    dist.broadcast_(self.optimizer.state[p]["momentum_buffer"], owner)

    def _momentum(self, p: Tensor) -> Tensor | None:
        found: Tensor | None = self.optimizer.state.get(p, {}).get("momentum_buffer")
        return found

    def resume(self) -> int:
        """First epoch to run: after the last one saved."""
        path = self.task.work / "state.pt"
        if not path.exists():
            return 0
        try:
            files.whole(path)
            state = torch.load(path, map_location=self.task.device, weights_only=True)
            self.optimizer.load_state_dict(state["optimizer"])
        except Exception:  # torch raises many types on a damaged file; what it held is computed again
            path.unlink(missing_ok=True)
            return 0
        self.heads.load_state_dict(state["heads"])
        self.history, self.lost = state["history"], state["lost"]
        return int(state["epoch"])


def hits(logits: Tensor, truth: Tensor) -> Tensor:
    """int64 (2,): how many rows have the true class first, and among the first five (or all, if fewer)."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices == truth[:, None]
    return torch.stack([best[:, 0].sum(), best.any(1).sum()])
