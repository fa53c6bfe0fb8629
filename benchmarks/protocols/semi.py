"""Semi-supervised fine-tuning on 1 % and 10 % of the labels: a 3 x 3 grid of learning rates, the best is reported.

OpenSelfSup's and MMSelfSup's recipe: backbone, global average, linear head, everything trains (batch norm too), 20
epochs, SGD with drops by 0.2 after epochs 12 and 16. The field picks the best of nine by top-1 on the validation
split; that is the number here. Beside it stands an honest one: the setting picked on a fifth of the labelled images
held out from a second run of the grid.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.protocol import Outcome, Protocol, Score, Task
from pretrain.faults import Fault
from pretrain.lazy import F, torch
from pretrain.recipe import Step, View, centre_view, sized

if TYPE_CHECKING:
    from torch import Tensor, nn

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SemiSettings:
    """lrs x head_multipliers is the grid; honest: also choose on held-out training images (doubles the cost)."""

    weight_decay: float
    view: View
    lrs: tuple[float, ...] = (0.1, 0.01, 0.001)
    head_multipliers: tuple[int, ...] = (1, 10, 100)
    epochs: int = 20
    schedule: Step = field(default=Step(milestones=(12, 16), gamma=0.2))
    momentum: float = 0.9
    batch_size: int = 256
    precision: str = "fp32"
    honest: bool = True
    held_out: int = 5  # every fifth labelled image of each class


Accuracy = tuple[float, float]


class Setting(NamedTuple):
    """A point of the grid, named as MMSelfSup names its files."""

    lr: float
    multiplier: int

    @property
    def name(self) -> str:
        return f"head{self.multiplier}_steplr{self.lr:.0e}".replace("e-0", "e-")


def run(task: Task) -> Outcome:
    """Top-1 and top-5 of the best setting, of all settings as facts, and of the honestly chosen one."""
    settings = task.protocol.settings
    grid = [Setting(lr, m) for m, lr in itertools.product(settings.head_multipliers, settings.lrs)]
    train, val = task.splits["train"], task.splits["val"]
    assert train.labels is not None
    fit, held = hold_out(train.labels, settings.held_out)
    everything, every_val = np.arange(len(train)), np.arange(len(val))
    jobs = [(s, "val", everything, "val", every_val) for s in grid]
    jobs += [(s, "held-out", fit, "train", held) for s in grid] if settings.honest and len(held) else []
    found: dict[str, dict[str, Accuracy]] = {"val": {}, "held-out": {}}
    diverged = []
    for done, (setting, kind, ids, role, test) in enumerate(jobs, start=1):
        accuracy = _remembered(task, setting, kind, ids, role, test)
        if accuracy is None:
            diverged.append(f"{setting.name} {kind}")
        else:
            found[kind][setting.name] = accuracy
        task.report(done, len(jobs), f"{setting.name} {kind} {f'{accuracy[0]:.1f} %' if accuracy else 'diverged'}")
    if not found["val"]:
        raise Fault("nan", f"{task.protocol.name}: the loss of all {len(grid)} settings diverged; lower 'lrs'")
    return _outcome(found, diverged, len(val), val_split="val")


def hold_out(labels: Ids, every: int) -> tuple[Ids, Ids]:
    """Ids to fit on and to hold out: each `every`-th image of a class, so classes with fewer lose none."""
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members))
    held = rank % every == every - 1
    if not held.any():  # a handful per class: hold out the last of each class that has at least two
        sizes = np.bincount(labels)[labels]
        held = (rank == sizes - 1) & (sizes > 1)
    return np.flatnonzero(~held), np.flatnonzero(held)


def _outcome(found: dict[str, dict[str, Accuracy]], diverged: list[str], n: int, val_split: str) -> Outcome:
    best = max(found["val"], key=lambda name: found["val"][name][0])
    note = f"{best}, best of {len(found['val'])} on val"
    scores = [
        Score("top1", found["val"][best][0], n, val_split, note=note),
        Score("top5", found["val"][best][1], n, val_split, note=note),
    ]
    if found["held-out"]:
        honest = max(found["held-out"], key=lambda name: found["held-out"][name][0])
        note = f"{honest}, chosen on held-out training images"
        scores.append(Score("top1_honest", found["val"][honest][0], n, val_split, note=note))
        scores.append(Score("top5_honest", found["val"][honest][1], n, val_split, note=note))
    grid = {k: list(v) for k, v in found["val"].items()}
    return Outcome(scores, {"setting": best, "grid": grid, "diverged": diverged})


def _remembered(task: Task, setting: Setting, kind: str, ids: Ids, role: str, test: Ids) -> Accuracy | None:
    """The accuracies of a point of the grid, from its file if it was finished before; None if it diverged."""
    import json

    from pretrain import files

    path = task.work / f"{kind}-{setting.name}.json"
    if path.exists():
        known = json.loads(path.read_text())
        return known and (known[0], known[1])
    accuracy = finetune(task, setting, ids, role, test)
    files.write_text(path, json.dumps(accuracy))
    return accuracy


def finetune(task: Task, setting: Setting, ids: Ids, role: str, test: Ids) -> Accuracy | None:
    """Top-1 and top-5 (percent) on `test` of split `role`, after training everything on `ids` of the train split.

    None where a loss was not finite: such a network's predictions are no accuracy.
    """
    from pretrain import checkpoint
    from pretrain.loader import open_loader
    from pretrain.method import autocast
    from pretrain.network import linear

    settings, device, train = task.protocol.settings, task.device, task.splits["train"]
    torch.manual_seed(task.seed)
    backbone = checkpoint.load(task.checkpoint)
    net = torch.nn.Sequential(backbone, linear(backbone.dim, len(train.classes), std=0.01))
    net.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        [
            {"params": list(net[0].parameters()), "lr": setting.lr},
            {"params": list(net[1].parameters()), "lr": setting.lr * setting.multiplier},
        ],
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    rates = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(settings.schedule.milestones), settings.schedule.gamma)
    loader = open_loader(train, [sized(settings.view, backbone.input)], backbone.input, task.seed, device)
    y, finite = torch.from_numpy(train.labels).to(device), torch.ones((), dtype=torch.bool, device=device)
    for epoch in range(settings.epochs):
        net.train()
        order = ids[np.random.default_rng((task.seed, epoch)).permutation(len(ids))]
        for batch in loader.batches(order, settings.batch_size, epoch):
            with autocast(device, settings.precision):
                logits = net(batch.views[0].contiguous(memory_format=torch.channels_last))
            optimizer.zero_grad()
            loss = F.cross_entropy(logits.float(), y[batch.index])
            finite &= loss.detach().isfinite()
            loss.backward()
            optimizer.step()
        rates.step()
    return _accuracy(task, net, role, test) if bool(finite) else None


def _accuracy(task: Task, net: nn.Module, role: str, test: Ids) -> Accuracy:
    from benchmarks.heads import hits
    from pretrain.loader import open_loader
    from pretrain.method import autocast

    split, given = task.splits[role], task.backbone.input
    y = torch.from_numpy(split.labels).to(task.device)
    loader = open_loader(split, [centre_view(given)], given, task.seed, task.device)
    total: Tensor = torch.zeros(2, dtype=torch.int64, device=task.device)
    net.eval()
    with torch.no_grad(), autocast(task.device, task.protocol.settings.precision):
        for batch in loader.batches(test, 256, epoch=0):
            x = batch.views[0].contiguous(memory_format=torch.channels_last)
            total += hits(net(x).float(), y[batch.index])
    top1, top5 = (100 * total / len(test)).tolist()
    return top1, top5


def _percent(name: str, title: str, weight_decay: float) -> Protocol:
    return Protocol(
        name=f"imagenet_{name}pct",
        title=title,
        source="OpenSelfSup and MMSelfSup 0.x, imagenet_1percent and imagenet_10percent; lists of SimCLR",
        settings=SemiSettings(weight_decay, View(size=224)),
        data={"train": f"imagenet/train_{name}percent", "val": "imagenet/val"},
        select_on="val",
        report_on="val",
        choose="best of nine settings by top-1 on val, last epoch, as published",
        run=run,
        frozen=False,
    )


PAPER = (
    _percent("1", "ImageNet 1 % semi-supervised", 5e-4),
    _percent("10", "ImageNet 10 % semi-supervised", 1e-4),
)


def _small(protocol: Protocol, epochs: int, drops: tuple[int, int]) -> Protocol:
    """The same grid on the embedded scenes: digits are not flipped, batches fit the lists."""
    settings = replace(
        protocol.settings,
        view=View(size=32, scale=(0.5, 1.0), flip=0.0),
        epochs=epochs,
        schedule=Step(milestones=drops, gamma=0.2),
        batch_size=32,
        precision="bf16",
        honest=False,
    )
    return replace(protocol, settings=settings)


DEMO = (_small(PAPER[0], 20, (12, 16)), _small(PAPER[1], 5, (3, 4)))
SMOKE = (_small(PAPER[0], 4, (2, 3)), _small(PAPER[1], 2, (1, 2)))
