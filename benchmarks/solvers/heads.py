"""Linear heads on the maps of a frozen backbone, each trained on its own, all in one pass over the images.

Nothing is shared but the pass: the losses are summed, and a head whose loss is not finite stops alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.contract.task import Task
from benchmarks.features import pool
from benchmarks.solvers.training import Head
from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.data.loader import open_loader
from pretrain.data.view import centre_view, sized
from pretrain.nets.heads import linear
from pretrain.train import optim
from pretrain.train.method import autocast

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

    task.protocol.settings must be a Training.
    """
    evaluation = Evaluation(task, heads)
    for epoch in range(evaluation.resume(), evaluation.epochs):
        if evaluation.live(epoch):
            evaluation.train(epoch)
            evaluation.test(epoch)
            evaluation.save(epoch)
    n = len(task.splits["val"])
    names = [head.name for head in heads if head.name not in evaluation.lost]
    return Trained({name: course(evaluation.history, name, n) for name in names}, evaluation.lost)


def course(history: Sequence[Epoch], name: str, n: int) -> Course:
    """Accuracies of a head among n images, over the epochs that it was trained for."""
    rows = {f"epoch {e + 1}": row[name] for e, row in enumerate(history) if name in row}
    return Course(*({epoch: 100 * row[k] / n for epoch, row in rows.items()} for k in (0, 1)))


class Heads(nn.Module):
    """Independent classifiers, drawn in their order. maps: five of the backbone, to see their shapes."""

    def __init__(self, heads: Sequence[Head], maps: list[Tensor], classes: int, limit: int) -> None:
        super().__init__()
        self.heads, self.limit = tuple(heads), limit
        self.norms, self.linears = nn.ModuleDict(), nn.ModuleDict()
        for head, x in self._inputs([maps], self.heads):
            if head.norm != "none":
                self.norms[head.name] = nn.BatchNorm2d(x.shape[1], affine=head.norm == "affine")
            self.linears[head.name] = _drawn(x[0].numel(), classes, head.std)

    def forward(self, views: list[list[Tensor]], names: Sequence[str]) -> list[Tensor]:
        """Logits (B, classes) of the heads of these names, in their own order; views: five maps of each."""
        heads = [head for head in self.heads if head.name in names]
        logits = []
        for head, x in self._inputs(views, heads):
            x = self.norms[head.name](x) if head.norm != "none" else x
            logits.append(self.linears[head.name](x.flatten(1)))
        return logits

    def _inputs(self, views: list[list[Tensor]], heads: Sequence[Head]) -> Iterator[tuple[Head, Tensor]]:
        """What each head is on, (B, C, g, g); maps are pooled once for all the heads on a view."""
        seen = {"first": views[0], "last": views[-1]}
        on_grid = {head.view for head in heads if head.pool == "grid"}
        grids = {view: pool(seen[view], self.limit) for view in on_grid}
        for head in heads:
            if head.pool == "grid":
                yield head, grids[head.view][head.map]
            else:
                yield head, seen[head.view][head.map].mean((2, 3), keepdim=True)


def _drawn(inside: int, outside: int, std: float | None) -> nn.Linear:
    return nn.Linear(inside, outside) if std is None else linear(inside, outside, std=std)


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
        maps = self.maps([blank])[0]
        self.heads = Heads(heads, maps, len(train.classes), self.settings.pooled).to(task.device)
        self.optimizers = {name: self._optimizer(head) for name, head in self.declared.items()}
        self.history: list[Epoch] = []
        self.lost: dict[str, str] = {}

    def _optimizer(self, head: Head) -> torch.optim.SGD:
        """SGD that does not decay the scale and shift of a norm."""
        s = head.solver
        groups = [
            {"params": list(self.heads.linears[head.name].parameters()), "weight_decay": s.weight_decay}
        ]
        if head.norm == "affine":
            groups.append({"params": list(self.heads.norms[head.name].parameters()), "weight_decay": 0.0})
        return torch.optim.SGD(groups, s.lr, s.momentum, nesterov=s.nesterov)

    def live(self, epoch: int) -> list[str]:
        """The heads that are trained in an epoch: not lost, and their schedule has not ended."""
        return [
            name
            for name, head in self.declared.items()
            if name not in self.lost and epoch < head.solver.epochs
        ]

    def maps(self, views: list[Tensor]) -> list[list[Tensor]]:
        """Five fp32 maps of each view (B, 3, S, S), which go through the frozen backbone together."""
        x = torch.cat(views).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), autocast(self.task.device, self.settings.precision):
            stages = self.task.backbone.eval().stages(x)
        parts = [m.float().split(len(views[0])) for m in stages]
        return [[part[i] for part in parts] for i in range(len(views))]

    def train(self, epoch: int) -> None:
        """One epoch of every live head."""
        n, live = len(self.task.splits["train"]), self.live(epoch)
        order = np.random.default_rng((self.task.seed, epoch)).permutation(n)
        finite = torch.ones(len(live), dtype=torch.bool, device=self.task.device)
        self._set_rates(epoch)
        self.heads.train()
        for batch in self.trainer.batches(order, self.settings.batch_size, epoch):
            if len(batch.index) == 1 < n:
                continue  # the one image left over has no variance for batch norm
            truth = self.y["train"][batch.index]
            logits = self.heads(self.maps(batch.views), live)
            losses = torch.stack([F.cross_entropy(one, truth) for one in logits])
            finite &= losses.detach().isfinite()
            self.heads.zero_grad()
            losses.sum().backward()
            for name in live:
                self.optimizers[name].step()
        self._lose([name for name, fine in zip(live, finite.tolist(), strict=True) if not fine], epoch)

    def _set_rates(self, epoch: int) -> None:
        for name, optimizer in self.optimizers.items():
            solver = self.declared[name].solver
            for group in optimizer.param_groups:
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
        live = self.live(epoch)
        total = torch.zeros(len(live), 2, dtype=torch.int64, device=self.task.device)
        order = np.arange(len(self.task.splits["val"]), dtype=np.int64)
        with torch.no_grad():
            for batch in self.tester.batches(order, 256, epoch=0) if live else ():
                truth = self.y["val"][batch.index]
                logits = self.heads(self.maps(batch.views), live)
                total += torch.stack([hits(one, truth) for one in logits])
        self.history.append(dict(zip(live, total.tolist(), strict=True)))
        top = 100 * max((row[0] for row in self.history[-1].values()), default=0) / len(order)
        self.task.report(epoch + 1, self.epochs, f"epoch {epoch + 1}/{self.epochs}, best head {top:.1f} %")

    def save(self, epoch: int) -> None:
        state = {
            "epoch": epoch + 1,
            "heads": self.heads.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "history": self.history,
            "lost": self.lost,
        }
        files.write(self.task.work / "state.pt", lambda aside: torch.save(state, aside))

    def resume(self) -> int:
        """First epoch to run: after the last one saved."""
        path = self.task.work / "state.pt"
        if not path.exists():
            return 0
        try:
            state = torch.load(path, map_location=self.task.device, weights_only=True)
        except Exception:  # torch raises many types on a damaged file; what it held is computed again
            path.unlink()
            return 0
        self.heads.load_state_dict(state["heads"])
        for name, saved in state["optimizers"].items():
            self.optimizers[name].load_state_dict(saved)
        self.history, self.lost = state["history"], state["lost"]
        return int(state["epoch"])


def hits(logits: Tensor, truth: Tensor) -> Tensor:
    """int64 (2,): how many rows have the true class first, and among the first five (or all, if fewer)."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices == truth[:, None]
    return torch.stack([best[:, 0].sum(), best.any(1).sum()])
