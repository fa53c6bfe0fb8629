"""The grid of fine-tunings: every point trained and kept, the
best reported, and the honestly chosen one beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import cache
from benchmarks.contract.score import Score, Selection, best
from benchmarks.contract.task import Outcome, Task
from benchmarks.solvers.classes import require_classes
from benchmarks.solvers.heads import hits
from pretrain.base.faults import Fault
from pretrain.data.loader import open_loader
from pretrain.data.view import centre_view, sized
from pretrain.nets import checkpoint
from pretrain.nets.heads import linear
from pretrain.train import optim
from pretrain.train.method import autocast

Ids = npt.NDArray[np.int64]
Accuracy = tuple[float, float]  # top-1 and top-5 in percent
TOPS = ("top1", "top5")


class Setting(NamedTuple):
    """A point of the grid, named as MMSelfSup names its files; two points never share a name."""

    lr: float
    multiplier: int

    @property
    def name(self) -> str:
        """For instance head10_steplr1e-2; the rate has the fewest digits that give it back exactly."""
        _, digits, power = Decimal(repr(self.lr)).normalize().as_tuple()
        assert isinstance(power, int), self.lr
        first, *rest = map(str, digits)
        point = f".{''.join(rest)}" if rest else ""
        return f"head{self.multiplier}_steplr{first}{point}e{power + len(rest):+d}"


class Trial(NamedTuple):
    """One fine-tuning: trained on `fit` of the training split, tested on `test` of split `role`."""

    setting: Setting
    kind: str
    fit: Ids
    role: str
    test: Ids


def run(task: Task) -> Outcome:
    """Top-1 and top-5 of the best setting, and of the honestly chosen one where it was asked for."""
    require_classes(task, "train")
    with reproducible() as cudnn:
        found, diverged = _tried(task, grid(task))
    if not found["val"]:
        said = f"the loss of all {len(points(task))} settings diverged; lower 'lrs'"
        raise Fault("nan", f"{task.protocol.name}: {said}")
    done = outcome(found, len(points(task)), len(task.splits["val"]), _not_honest(task))
    return done._replace(facts={"diverged": diverged, "cudnn": cudnn, **done.facts})


@contextmanager
def reproducible() -> Iterator[dict[str, bool]]:
    """cuDNN's deterministic algorithms, none picked by timing, as the reference pages demand; gives what is
    set, and puts back what was.
    """
    cudnn: Any = torch.backends.cudnn
    kept = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield {"deterministic": cudnn.deterministic, "benchmark": cudnn.benchmark}
    finally:
        cudnn.deterministic, cudnn.benchmark = kept


def _tried(task: Task, trials: list[Trial]) -> tuple[dict[str, dict[str, Accuracy]], list[str]]:
    """Accuracies of every trial by kind and name, and which ones diverged."""
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
    return found, diverged


def points(task: Task) -> list[Setting]:
    """The settings that are tried: the grid, or the one of backbones with a Sobel front-end."""
    settings = task.protocol.settings
    if task.backbone.input.sobel and settings.sobel is not None:
        return [Setting(*settings.sobel)]
    return [Setting(lr, m) for m, lr in itertools.product(settings.head_multipliers, settings.lrs)]


def grid(task: Task) -> list[Trial]:
    """Every setting on all labelled images, and on four fifths of them where the honest choice is asked for
    and there is something to choose.
    """
    settings, train, val = task.protocol.settings, task.splits["train"], task.splits["val"]
    assert train.labels is not None
    fit, held = hold_out(train.labels, settings.held_out)
    trials = [
        Trial(point, "val", np.arange(len(train)), "val", np.arange(len(val))) for point in points(task)
    ]
    if not _not_honest(task) and len(points(task)) > 1:
        trials += [Trial(point, "held-out", fit, "train", held) for point in points(task)]
    return trials


def _not_honest(task: Task) -> str:
    """Why no setting can be chosen on held-out training images; empty where one can."""
    settings, train = task.protocol.settings, task.splits["train"]
    assert train.labels is not None
    if not settings.honest:
        return f"not asked for, as it doubles the cost; {task.protocol.name}.honest=true computes it"
    if not len(hold_out(train.labels, settings.held_out)[1]):
        return f"{train.name} has one image of each class, so none can be held out; choose on more labels"
    return ""


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


def outcome(found: dict[str, dict[str, Accuracy]], tried: int, n: int, why: str) -> Outcome:
    """Scores of the best point of the grid by val, and of the best by held-out training images.

    found: kind (val, held-out) -> name of a setting -> accuracies; tried: how many settings there are, of one
    nothing is chosen; why: there are no held-out images, empty where there are.
    """
    tops, held = found["val"], found["held-out"]
    chosen = best({name: top1 for name, (top1, _) in tops.items()})
    if tried == 1:
        note = f"{chosen}, the only setting"
        return Outcome(_scores(tops, chosen, n, "", note=note), {"setting": chosen})
    honest = best({name: top1 for name, (top1, _) in held.items()}) if held else ""
    why = why or ("" if held else "every setting diverged on the training images that were not held out")
    if honest and honest not in tops:
        why = f"{honest}, chosen on held-out training images, diverged on all training images; lower 'lrs'"
    missing = {f"{name}_honest": why for name in TOPS} if why else {}
    scores = _scores(tops, chosen, n, "val", twin=not why)
    if not why:
        scores += _scores(tops, honest, n, "held-out training images", suffix="_honest")
    return Outcome(scores, {"setting": chosen}, missing)


def _scores(
    tops: dict[str, Accuracy],
    choice: str,
    n: int,
    on: str,
    *,
    suffix: str = "",
    twin: bool = False,
    note: str = "",
) -> list[Score]:
    """Top-1 and top-5 of a setting among all; on: what chose it, empty where there was nothing to choose."""
    scores = []
    for i, name in enumerate(TOPS):
        among = {point: accuracy[i] for point, accuracy in tops.items()}
        selection = Selection("setting", choice, on, among) if on else None
        honest = f"{name}_honest" if twin else ""
        scores.append(
            Score(f"{name}{suffix}", among[choice], n, "val", selection=selection, honest=honest, note=note)
        )
    return scores


def _remembered(task: Task, trial: Trial) -> Accuracy | None:
    """The accuracies of a point of the grid, from its file if it was finished before; None if it diverged."""
    path = task.work / f"{trial.kind}-{trial.setting.name}.json"
    known = cache.remembered(path, lambda: finetune(task, trial))
    return known and (known[0], known[1])


def finetune(task: Task, trial: Trial) -> Accuracy | None:
    """Accuracies after training everything; None where a loss or a prediction was not finite: that is no
    accuracy.
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


def _accuracy(task: Task, net: nn.Module, trial: Trial) -> Accuracy | None:
    """None where a prediction is not finite: the last step alone may have diverged."""
    split, given = task.splits[trial.role], task.backbone.input
    y = torch.from_numpy(split.labels).to(task.device)
    loader = open_loader(split, [centre_view(given)], given, task.seed, task.device)
    total: Tensor = torch.zeros(2, dtype=torch.int64, device=task.device)
    finite = torch.ones((), dtype=torch.bool, device=task.device)
    net.eval()
    with torch.no_grad(), autocast(task.device, task.protocol.settings.precision):
        for batch in loader.batches(trial.test, 256, epoch=0):
            x = batch.views[0].contiguous(memory_format=torch.channels_last)
            logits = net(x).float()
            finite &= logits.isfinite().all()
            total += hits(logits, y[batch.index])
    if not bool(finite):
        return None
    top1, top5 = (100 * total / len(trial.test)).tolist()
    return top1, top5
