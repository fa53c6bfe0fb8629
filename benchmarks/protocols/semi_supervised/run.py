"""The grid of fine-tunings: every point trained and kept, the
best reported, and the honestly chosen one beside it.
"""

from __future__ import annotations

import itertools
import json
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.contract.score import Score, Selection, best
from benchmarks.contract.task import Outcome, Task
from benchmarks.solvers.heads import hits
from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.data.loader import open_loader
from pretrain.data.view import centre_view, sized
from pretrain.nets import checkpoint
from pretrain.nets.heads import linear
from pretrain.train import optim
from pretrain.train.method import autocast

Ids = npt.NDArray[np.int64]
Accuracy = tuple[float, float]  # top-1 and top-5 in percent


class Setting(NamedTuple):
    """A point of the grid, named as MMSelfSup names its files."""

    lr: float
    multiplier: int

    @property
    def name(self) -> str:
        return f"head{self.multiplier}_steplr{self.lr:.0e}".replace("e-0", "e-")


class Trial(NamedTuple):
    """One fine-tuning: trained on `fit` of the training split, tested on `test` of split `role`."""

    setting: Setting
    kind: str
    fit: Ids
    role: str
    test: Ids


def run(task: Task) -> Outcome:
    """Top-1 and top-5 of the best setting, and of the honestly chosen one where it was asked for."""
    trials = grid(task)
    found: dict[str, dict[str, Accuracy]] = {"val": {}, "held-out": {}}
    diverged = []
    for done, trial in enumerate(trials, start=1):
        accuracy, name = _remembered(task, trial), trial.setting.name
        if accuracy is None:
            diverged.append(f"{name} {trial.kind}")
        else:
            found[trial.kind][name] = accuracy
        said = f"{accuracy[0]:.1f} %" if accuracy else "diverged"
        task.report(done, len(trials), f"{name} {trial.kind} {said}")
    if not found["val"]:
        said = f"the loss of all {len({trial.setting for trial in trials})} settings diverged; lower 'lrs'"
        raise Fault("nan", f"{task.protocol.name}: {said}")
    return outcome(found, diverged, len(task.splits["val"]))


def grid(task: Task) -> list[Trial]:
    """Every setting on all labelled images, and on four
    fifths of them where the honest choice is asked for.
    """
    settings = task.protocol.settings
    points = [Setting(lr, m) for m, lr in itertools.product(settings.head_multipliers, settings.lrs)]
    train, val = task.splits["train"], task.splits["val"]
    assert train.labels is not None
    fit, held = hold_out(train.labels, settings.held_out)
    trials = [Trial(point, "val", np.arange(len(train)), "val", np.arange(len(val))) for point in points]
    if settings.honest and len(held):
        trials += [Trial(point, "held-out", fit, "train", held) for point in points]
    return trials


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


def outcome(found: dict[str, dict[str, Accuracy]], diverged: list[str], n: int) -> Outcome:
    """Scores of the best point of the grid by val, and of the best by held-out training images."""
    scores = []
    for kind, suffix, on in (("val", "", "val"), ("held-out", "_honest", "held-out training images")):
        if not found[kind]:
            continue
        choice = best({name: top1 for name, (top1, _) in found[kind].items()})
        for i, name in enumerate(("top1", "top5")):
            among = {point: accuracy[i] for point, accuracy in found["val"].items()}
            honest = f"{name}_honest" if kind == "val" and found["held-out"] else ""
            selection = Selection("setting", choice, on, among)
            scores.append(
                Score(f"{name}{suffix}", among[choice], n, "val", selection=selection, honest=honest)
            )
    return Outcome(scores, {"diverged": diverged})


def _remembered(task: Task, trial: Trial) -> Accuracy | None:
    """The accuracies of a point of the grid, from its file if it was finished before; None if it diverged."""
    path = task.work / f"{trial.kind}-{trial.setting.name}.json"
    if path.exists():
        known = json.loads(path.read_text())
        return known and (known[0], known[1])
    accuracy = finetune(task, trial)
    files.write_text(path, json.dumps(accuracy))
    return accuracy


def finetune(task: Task, trial: Trial) -> Accuracy | None:
    """Accuracies after training everything; None where a loss
    was not finite: such predictions are no accuracy.
    """
    settings, device, train = task.protocol.settings, task.device, task.splits["train"]
    torch.manual_seed(task.seed)
    backbone = checkpoint.load(task.checkpoint)
    net = nn.Sequential(backbone, linear(backbone.dim, len(train.classes), std=0.01))
    net.to(device).to(memory_format=torch.channels_last)
    lr, decay = trial.setting.lr, settings.weight_decay
    groups = [
        {"params": list(net[0].parameters()), "lr": lr},
        {"params": list(net[1].parameters()), "lr": lr * trial.setting.multiplier},
    ]
    optimizer = torch.optim.SGD(groups, momentum=settings.momentum, weight_decay=decay)
    peaks = [group["lr"] for group in optimizer.param_groups]
    loader = open_loader(train, [sized(settings.view, backbone.input)], backbone.input, task.seed, device)
    y, finite = torch.from_numpy(train.labels).to(device), torch.ones((), dtype=torch.bool, device=device)
    for epoch in range(settings.epochs):
        net.train()
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * optim.factor(settings.schedule, epoch, 1, settings.epochs)
        order = trial.fit[np.random.default_rng((task.seed, epoch)).permutation(len(trial.fit))]
        for batch in loader.batches(order, settings.batch_size, epoch):
            with autocast(device, settings.precision):
                logits = net(batch.views[0].contiguous(memory_format=torch.channels_last))
            optimizer.zero_grad()
            loss = F.cross_entropy(logits.float(), y[batch.index])
            finite &= loss.detach().isfinite()
            loss.backward()
            optimizer.step()
    return _accuracy(task, net, trial) if bool(finite) else None


def _accuracy(task: Task, net: nn.Module, trial: Trial) -> Accuracy:
    split, given = task.splits[trial.role], task.backbone.input
    y = torch.from_numpy(split.labels).to(task.device)
    loader = open_loader(split, [centre_view(given)], given, task.seed, task.device)
    total: Tensor = torch.zeros(2, dtype=torch.int64, device=task.device)
    net.eval()
    with torch.no_grad(), autocast(task.device, task.protocol.settings.precision):
        for batch in loader.batches(trial.test, 256, epoch=0):
            x = batch.views[0].contiguous(memory_format=torch.channels_last)
            total += hits(net(x).float(), y[batch.index])
    top1, top5 = (100 * total / len(trial.test)).tolist()
    return top1, top5
