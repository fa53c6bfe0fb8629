"""Six heads on one frozen backbone, trained together in one
pass over the images; resumes at its last epoch.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.contract.score import Score, Selection, best
from benchmarks.contract.task import Outcome, Task
from benchmarks.protocols.linear.protocol import HEADS, LinearSettings, Solver
from benchmarks.solvers.heads import Heads, hits
from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.data.loader import open_loader
from pretrain.data.view import centre_view, sized
from pretrain.train import optim
from pretrain.train.method import autocast

Epoch = list[list[int]]  # per head: hits among the first, and among the first five


def run(task: Task) -> Outcome:
    """Top-1 and top-5 of six heads; frozen backbone."""
    evaluation = Evaluation(task)
    for epoch in range(evaluation.resume(), evaluation.epochs):
        evaluation.train(epoch)
        evaluation.test(epoch)
        evaluation.save(epoch)
    return outcome(evaluation.history, task.protocol.settings, len(task.splits["val"]))


class Evaluation:
    """The state of one linear evaluation. history: per epoch, hits (heads, 2) on the validation split."""

    def __init__(self, task: Task) -> None:
        self.task, self.settings, self.input = task, task.protocol.settings, task.backbone.input
        self.solvers: list[Solver] = [self.settings.features] * 5 + [self.settings.average]
        self.epochs = max(solver.epochs for solver in self.solvers)
        train, val = task.splits["train"], task.splits["val"]
        self.y = {
            role: torch.from_numpy(task.splits[role].labels).to(task.device) for role in ("train", "val")
        }
        views = [sized(view, self.input) for view in self.settings.views]
        self.trainer = open_loader(train, views, self.input, task.seed, task.device)
        self.tester = open_loader(val, [centre_view(self.input)], self.input, task.seed, task.device)
        torch.manual_seed(task.seed)
        blank = torch.zeros(2, 3, self.input.size, self.input.size, device=task.device)
        self.heads = Heads(self.maps(blank), len(train.classes), self.settings.pooled).to(task.device)
        self.optimizers = [
            torch.optim.SGD(
                head.parameters(), s.lr, s.momentum, weight_decay=s.weight_decay, nesterov=s.nesterov
            )
            for head, s in zip(self.heads.linears, self.solvers, strict=True)
        ]
        self.history: list[Epoch] = []

    def maps(self, x: Tensor) -> list[Tensor]:
        """Five maps of the frozen backbone, fp32."""
        with torch.no_grad(), autocast(self.task.device, self.settings.precision):
            stages = self.task.backbone.eval().stages(x.contiguous(memory_format=torch.channels_last))
        return [m.float() for m in stages]

    def logits(self, views: list[Tensor]) -> list[Tensor]:
        """Six logits; AvgPool sees the last view, which is also the first where there is one."""
        b = len(views[0])
        maps = self.maps(torch.cat(views))
        logits: list[Tensor] = self.heads([m[:b] for m in maps], maps[-1][-b:].mean((2, 3)))
        return logits

    def train(self, epoch: int) -> None:
        """One epoch of every head whose schedule has not ended; the losses are summed, nothing is shared."""
        n, size = len(self.task.splits["train"]), self.settings.batch_size
        order = np.random.default_rng((self.task.seed, epoch)).permutation(n)
        live = [epoch < solver.epochs for solver in self.solvers]
        finite = torch.ones(len(self.solvers), dtype=torch.bool, device=self.task.device)
        for optimizer, solver in zip(self.optimizers, self.solvers, strict=True):
            optimizer.param_groups[0]["lr"] = solver.lr * optim.factor(
                solver.schedule, epoch, 1, solver.epochs
            )
        self.heads.train()
        for batch in self.trainer.batches(order, size, epoch):
            truth = self.y["train"][batch.index]
            losses = [F.cross_entropy(logits, truth) for logits in self.logits(batch.views)]
            finite &= torch.stack(losses).detach().isfinite()
            self.heads.zero_grad()
            torch.stack([loss for loss, alive in zip(losses, live, strict=True) if alive]).sum().backward()
            for optimizer, alive in zip(self.optimizers, live, strict=True):
                if alive:
                    optimizer.step()
        self._refuse(finite, epoch)

    def _refuse(self, finite: Tensor, epoch: int) -> None:
        """Raises a Fault where a head's loss was not finite: its predictions are no accuracy."""
        lost = [name for name, fine in zip(HEADS, finite.tolist(), strict=True) if not fine]
        if lost:
            said = (
                f"the loss of {', '.join(lost)} is not finite in epoch {epoch + 1}; lower its learning rate"
            )
            raise Fault("nan", f"{self.task.protocol.name}: {said}")

    def test(self, epoch: int) -> None:
        """Counts the hits of every head on the validation split."""
        self.heads.eval()
        total = torch.zeros(6, 2, dtype=torch.int64, device=self.task.device)
        order = np.arange(len(self.task.splits["val"]), dtype=np.int64)
        with torch.no_grad():
            for batch in self.tester.batches(order, 256, epoch=0):
                truth = self.y["val"][batch.index]
                total += torch.stack([hits(logits, truth) for logits in self.logits(batch.views)])
        self.history.append(total.tolist())
        top = 100 * max(head[0] for head in self.history[-1]) / len(order)
        self.task.report(epoch + 1, self.epochs, f"epoch {epoch + 1}/{self.epochs}, best head {top:.1f} %")

    def save(self, epoch: int) -> None:
        state = {
            "epoch": epoch + 1,
            "heads": self.heads.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "history": self.history,
        }
        files.write(self.task.work / "state.pt", lambda aside: torch.save(state, aside))

    def resume(self) -> int:
        """First epoch to run: after the last one saved."""
        path = self.task.work / "state.pt"
        if not path.exists():
            return 0
        state = torch.load(path, map_location=self.task.device, weights_only=True)
        self.heads.load_state_dict(state["heads"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.history = state["history"]
        return int(state["epoch"])


def outcome(history: list[Epoch], settings: LinearSettings, n: int) -> Outcome:
    """Feature1-5 at their last epoch, AvgPool at its best, as
    published; the other choice of each beside it.
    """
    scores = []
    for head, name in enumerate(HEADS):
        solver = settings.average if name == "AvgPool" else settings.features
        top1 = {
            f"epoch {e + 1}": 100 * epoch[head][0] / n for e, epoch in enumerate(history[: solver.epochs])
        }
        top5 = {
            f"epoch {e + 1}": 100 * epoch[head][1] / n for e, epoch in enumerate(history[: solver.epochs])
        }
        last, top = list(top1)[-1], best(top1)
        if name == "AvgPool":
            chosen = Selection("epoch", top, "val", top1)
            scores.append(
                Score(f"{name}_top1", top1[top], n, "val", selection=chosen, honest=f"{name}_top1_last")
            )
            scores.append(Score(f"{name}_top5", top5[top], n, "val", selection=chosen))
            scores.append(Score(f"{name}_top1_last", top1[last], n, "val"))
        else:
            scores.append(Score(f"{name}_top1", top1[last], n, "val"))
            scores.append(Score(f"{name}_top5", top5[last], n, "val"))
            chosen = Selection("epoch", top, "val", top1)
            scores.append(
                Score(f"{name}_top1_best", top1[top], n, "val", selection=chosen, honest=f"{name}_top1")
            )
    return Outcome(scores, {})
