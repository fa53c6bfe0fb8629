"""Linear evaluation of every depth: Feature1-5 and AvgPool heads on one frozen backbone, trained in one pass.

Feature1-5 are the multi-head protocol of FAIR's benchmark as OpenSelfSup ran it: pooled maps of about 9,000 values,
batch norm without scale and shift, SGD with Nesterov momentum; the last epoch is reported. AvgPool is MoCo's
protocol: global average, learning rate 30, no weight decay; the best epoch is reported, as OpenSelfSup did, and the
last beside it. Where both want the same augmentation they share the forward pass of the backbone; where they do not
(ImageNet: colour jitter and lighting for Feature1-5 only), the two versions of a batch go through it together.
iNaturalist 2018 and Places205 have no published AvgPool setting: ours is MoCo's on the schedule of the data set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.protocol import Outcome, Protocol, Score, Task
from pretrain.faults import Fault
from pretrain.lazy import F, torch
from pretrain.recipe import Step, View, centre_view, sized

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.heads import Heads


@dataclass(frozen=True)
class Solver:
    """SGD of one kind of head."""

    lr: float
    weight_decay: float
    nesterov: bool
    epochs: int
    schedule: Step
    momentum: float = 0.9


@dataclass(frozen=True)
class LinearSettings:
    """features, average: solvers of Feature1-5 and of AvgPool; views: one for both, or one for each, at the size of
    the backbone; pooled: largest flattened size of a map; precision: of the frozen backbone, heads are fp32.
    """

    features: Solver
    average: Solver
    views: tuple[View, ...]
    batch_size: int = 256
    pooled: int = 9216
    precision: str = "fp32"


def run(task: Task) -> Outcome:
    """Top-1 and top-5 of six heads; continues from its own last epoch; frozen backbone."""
    run = _Run(task)
    epochs = max(solver.epochs for solver in run.solvers)
    for epoch in range(run.resume(), epochs):
        run.train(epoch)
        run.evaluate(epoch)
        run.save(epoch)
    return _outcome(run.history, run.settings, len(task.splits["val"]))


class _Run:
    """The state of one linear evaluation. history: per epoch, hits (heads, 2) on the validation split."""

    def __init__(self, task: Task) -> None:
        from benchmarks.heads import NAMES, Heads
        from pretrain.loader import open_loader

        self.task, self.settings = task, task.protocol.settings
        self.given = task.backbone.input
        self.solvers = [self.settings.features] * 5 + [self.settings.average]
        train, val = task.splits["train"], task.splits["val"]
        self.y = {role: torch.from_numpy(task.splits[role].labels).to(task.device) for role in ("train", "val")}
        views = [sized(view, self.given) for view in self.settings.views]
        self.trainer = open_loader(train, views, self.given, task.seed, task.device)
        self.tester = open_loader(val, [centre_view(self.given)], self.given, task.seed, task.device)
        torch.manual_seed(task.seed)
        blank = torch.zeros(2, 3, self.given.size, self.given.size, device=task.device)
        self.heads: Heads = Heads(self.maps(blank), len(train.classes), self.settings.pooled).to(task.device)
        self.optimizers = [
            torch.optim.SGD(head.parameters(), s.lr, s.momentum, weight_decay=s.weight_decay, nesterov=s.nesterov)
            for head, s in zip(self.heads.linears, self.solvers, strict=True)
        ]
        self.history: list[list[list[int]]] = []
        self.names = NAMES

    def maps(self, x: Tensor) -> list[Tensor]:
        """Five maps of the frozen backbone, fp32."""
        from pretrain.method import autocast

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
            factor = solver.schedule.gamma ** sum(epoch >= m for m in solver.schedule.milestones)
            optimizer.param_groups[0]["lr"] = solver.lr * factor
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
        lost = [name for name, fine in zip(self.names, finite.tolist(), strict=True) if not fine]
        if lost:
            said = f"the loss of {', '.join(lost)} is not finite in epoch {epoch + 1}; lower its learning rate"
            raise Fault("nan", f"{self.task.protocol.name}: {said}")

    def evaluate(self, epoch: int) -> None:
        from benchmarks.heads import hits

        self.heads.eval()
        total = torch.zeros(6, 2, dtype=torch.int64, device=self.task.device)
        order = np.arange(len(self.task.splits["val"]), dtype=np.int64)
        with torch.no_grad():
            for batch in self.tester.batches(order, 256, epoch=0):
                truth = self.y["val"][batch.index]
                total += torch.stack([hits(logits, truth) for logits in self.logits(batch.views)])
        self.history.append(total.tolist())
        last = max(solver.epochs for solver in self.solvers)
        best = 100 * max(h[0] for h in self.history[-1]) / len(order)
        self.task.report(epoch + 1, last, f"epoch {epoch + 1}/{last}, best head {best:.1f} %")

    def save(self, epoch: int) -> None:
        from pretrain import files

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


def _outcome(history: list[list[list[int]]], settings: LinearSettings, n: int) -> Outcome:
    from benchmarks.heads import NAMES

    scores = []
    for head, name in enumerate(NAMES):
        solver = settings.average if name == "AvgPool" else settings.features
        top1 = [100 * epoch[head][0] / n for epoch in history[: solver.epochs]]
        best = max(range(len(top1)), key=top1.__getitem__)
        shown = best if name == "AvgPool" else len(top1) - 1
        note = f"epoch {shown + 1}, best of {len(top1)} on val" if name == "AvgPool" else "last epoch"
        scores.append(Score(f"{name}_top1", top1[shown], n, "val", note=note))
        scores.append(Score(f"{name}_top5", 100 * history[shown][head][1] / n, n, "val", note=note))
        scores.append(Score(f"{name}_top1_{'last' if name == 'AvgPool' else 'best'}", top1[best - shown - 1], n, "val"))
    return Outcome(scores, {"heads": list(NAMES)})


_HEADS = Solver(lr=0.01, weight_decay=1e-4, nesterov=True, epochs=90, schedule=Step(milestones=(30, 60, 90)))
_MOCO = Solver(lr=30.0, weight_decay=0.0, nesterov=False, epochs=100, schedule=Step(milestones=(60, 80)))
_PLAIN = View(size=224)


def _on(data: str, title: str, source: str, settings: LinearSettings) -> Protocol:
    return Protocol(
        name=f"{data}_linear",
        title=title,
        source=source,
        settings=settings,
        data={"train": f"{data}/train", "val": f"{data}/val"},
        select_on="val",
        report_on="val",
        choose="Feature1-5: last epoch; AvgPool: best epoch on val, as published",
        run=run,
    )


def _schedule(epochs: int, milestones: tuple[int, ...], views: tuple[View, ...]) -> LinearSettings:
    features = replace(_HEADS, epochs=epochs, schedule=Step(milestones=milestones))
    return LinearSettings(features, replace(_MOCO, epochs=epochs, schedule=Step(milestones=milestones)), views)


PAPER = (
    _on(
        "imagenet",
        "ImageNet linear",
        "Goyal et al. 2019 and OpenSelfSup (Feature1-5), He et al. 2020 (AvgPool)",
        LinearSettings(_HEADS, _MOCO, (replace(_PLAIN, jitter=(0.4, 0.4, 0.4, 0.0), lighting=0.1), _PLAIN)),
    ),
    _on(
        "inat18",
        "iNaturalist 2018 linear",
        "MMSelfSup 0.x, resnet50_mhead_8xb32-steplr-84e_inat18",
        _schedule(84, (24, 48, 72), (_PLAIN,)),
    ),
    _on(
        "places205",
        "Places205 linear",
        "OpenSelfSup and MMSelfSup 0.x, resnet50_mhead_8xb32-steplr-28e_places205",
        _schedule(28, (7, 14, 21), (View(size=224, geometry="random-crop", resize=256),)),
    ),
)


def _small(protocol: Protocol, epochs: int, pooled: int) -> Protocol:
    """The same on the embedded scenes: digits are not flipped, learning rates suit a narrow network."""
    drops = Step(milestones=(epochs // 2, epochs * 3 // 4))
    settings = LinearSettings(
        features=replace(_HEADS, epochs=epochs, schedule=drops),
        average=replace(_MOCO, lr=1.0, epochs=epochs, schedule=drops),
        views=(View(size=32, scale=(0.5, 1.0), flip=0.0),),
        batch_size=64,
        pooled=pooled,
        precision="bf16",
    )
    return replace(protocol, settings=settings)


DEMO = tuple(_small(protocol, epochs=8, pooled=1024) for protocol in PAPER)
SMOKE = tuple(_small(protocol, epochs=4, pooled=512) for protocol in PAPER)
