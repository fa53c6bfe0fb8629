"""Fine-tunings that differ in their learning rates alone: they read the same batches, each once for all.

A network of each is on the device; they take their steps in turn, so each does what it does alone, bit for
bit. Every minute or so their states are kept, a file each: another number of processes can go on.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import cache
from benchmarks.contract.task import Task
from benchmarks.features import channels_last
from benchmarks.solvers.heads import hits
from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.base.numerics import autocast
from pretrain.data.loader import open_loader
from pretrain.data.view import centre_view, sized
from pretrain.nets import checkpoint
from pretrain.nets.heads import linear
from pretrain.train import optim
from pretrain.train.method import derive

Ids = npt.NDArray[np.int64]
Accuracy = tuple[float, float]  # top-1 and top-5 in percent
AT_ONCE_BYTES = 2**33  # of weights, gradients and momenta on the device; 27 ResNet-50
SAVE_SECONDS = 60.0  # between two states: small grids end before the first


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

    def file(self, folder: Path, suffix: str) -> Path:
        """Where what is known of it stands."""
        return folder / f"{self.kind}-{self.setting.name}{suffix}"


class Tuning:
    """A trial in training. epoch: the one that comes next; finite: whether every loss was."""

    def __init__(self, task: Task, trial: Trial) -> None:
        self.task, self.trial, self.settings, self.epoch = task, trial, task.protocol.settings, 0
        torch.manual_seed(task.seed)
        backbone = checkpoint.load(task.checkpoint)
        net = nn.Sequential(backbone, linear(backbone.dim, len(task.splits["train"].classes), std=0.01))
        self.net = net.to(task.device).to(memory_format=torch.channels_last)
        lr = trial.setting.lr
        self.peaks = (lr, lr * trial.setting.multiplier)
        groups = [
            {"params": list(part.parameters()), "lr": peak}
            for part, peak in zip(net, self.peaks, strict=True)
        ]
        decay = self.settings.weight_decay
        self.optimizer = torch.optim.SGD(groups, momentum=self.settings.momentum, weight_decay=decay)
        self.finite = torch.ones((), dtype=torch.bool, device=task.device)
        self._file = trial.file(task.work, ".pt")

    def begin(self, epoch: int) -> None:
        """Sets the learning rates of an epoch."""
        self.net.train()
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * optim.factor(self.settings.schedule, epoch, 1, self.settings.epochs)

    def step(self, x: Tensor, truth: Tensor, draws: int) -> None:
        """One step on images (B, 3, S, S) of classes (B,).

        draws: seed of what dropout draws, which thus depends neither on who trains beside it nor on resuming.
        """
        torch.manual_seed(draws)
        with autocast(self.task.device, self.settings.precision):
            logits = self.net(x)
        self.optimizer.zero_grad()
        loss = F.cross_entropy(logits.float(), truth)
        self.finite &= loss.detach().isfinite()
        loss.backward()
        self.optimizer.step()

    def save(self) -> None:
        """Leaves the state after its last epoch."""
        state = {
            "epoch": self.epoch,
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "finite": self.finite,
        }
        files.write(self._file, lambda aside: torch.save(state, aside))

    def resume(self) -> None:
        """Goes on from the state that was kept, if there is one."""
        if not self._file.exists():
            return
        try:
            files.whole(self._file)
            state: dict[str, Any] = torch.load(self._file, map_location=self.task.device, weights_only=True)
            self.optimizer.load_state_dict(state["optimizer"])
        except Exception:  # torch raises many types on a damaged file; what it held is computed again
            self._file.unlink()
            return
        self.net.load_state_dict(state["net"])
        self.finite, self.epoch = state["finite"], int(state["epoch"])

    def finish(self, accuracy: Accuracy | None) -> None:
        """Keeps what came out; the state is not needed any more."""
        cache.keep(self.trial.file(self.task.work, ".json"), accuracy)
        self._file.unlink(missing_ok=True)


def finetune(
    task: Task, trials: Sequence[Trial], said: Callable[[str], None] = lambda _: None
) -> list[Accuracy | None]:
    """Accuracies after training everything, of trials of one kind; None where a loss or a prediction was not
    finite: that is no accuracy. Each is kept in task.work, as JSON. said: is told of every epoch.
    """
    found: list[Accuracy | None] = []
    while len(found) < len(trials):
        some = list(_first(task, trials[len(found) :]))
        _train(task, some, said)
        accuracies = _accuracies(task, some)
        for tuning, accuracy in zip(some, accuracies, strict=True):
            tuning.finish(accuracy)
        found += accuracies
    return found


def _first(task: Task, trials: Sequence[Trial]) -> Iterator[Tuning]:
    """As many of the trials as fit on the device."""
    room = AT_ONCE_BYTES
    for number, trial in enumerate(trials):
        tuning = Tuning(task, trial)
        room -= sum(3 * p.nbytes for p in tuning.net.parameters())
        if number and room < 0:
            return
        tuning.resume()
        yield tuning


def _train(task: Task, tunings: Sequence[Tuning], said: Callable[[str], None]) -> None:
    """All their epochs; one with a loss that is not finite stops after the epoch."""
    settings, train, fit = task.protocol.settings, task.splits["train"], tunings[0].trial.fit
    given, saved = task.backbone.input, time.monotonic()
    loader = open_loader(train, [sized(settings.view, given)], given, task.seed, task.device)
    y = torch.from_numpy(train.labels).to(task.device)
    left_over = _left_over(task, tunings[0].net, len(fit))
    for epoch in range(min(tuning.epoch for tuning in tunings), settings.epochs):
        due = [tuning for tuning in tunings if tuning.epoch == epoch and bool(tuning.finite)]
        for tuning in due:
            tuning.begin(epoch)
        order = fit[np.random.default_rng((task.seed, epoch)).permutation(len(fit))]
        for number, batch in enumerate(loader.batches(order, settings.batch_size, epoch) if due else ()):
            if len(batch.index) == left_over:
                continue
            x, truth = channels_last(batch.views[0]), y[batch.index]
            for tuning in due:
                tuning.step(x, truth, derive(task.seed, epoch, number))
        for tuning in due:
            tuning.epoch += 1
        if time.monotonic() - saved >= SAVE_SECONDS:
            for tuning in due:
                tuning.save()
            saved = time.monotonic()
        said(f"{tunings[0].trial.kind}, {len(due)} settings at once: epoch {epoch + 1}/{settings.epochs}")


def _left_over(task: Task, net: nn.Module, images: int) -> int:
    """The size of batches that are not trained on: 1 where the last has one image without a variance, else 0.

    Raises Fault where every batch is like that.
    """
    batch_size, size = task.protocol.settings.batch_size, task.backbone.input.size
    if 1 not in {images % batch_size, batch_size} or trains_on_one(net, size):
        return 0
    if min(images, batch_size) == 1:
        said = f"batches of one image have no variance where the last map of {size} px is one pixel"
        raise Fault(
            "bad-config", f"{task.protocol.name}: {said}; take a batch_size of 2 or more and 2 images"
        )
    return 1


def trains_on_one(net: nn.Module, size: int) -> bool:
    """Whether one image of so many px has a variance in every batch norm; none has in a map of one pixel."""
    aside = copy.deepcopy(net).cpu().train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):  # dropout would draw what training draws
            aside(torch.zeros(1, 3, size, size))
    except ValueError:  # what torch's batch norm raises
        return False
    return True


def _accuracies(task: Task, tunings: Sequence[Tuning]) -> list[Accuracy | None]:
    """None where a prediction is not finite: the last step alone may have diverged."""
    trial, given = tunings[0].trial, task.backbone.input
    split, alive = task.splits[trial.role], [tuning for tuning in tunings if bool(tuning.finite)]
    y = torch.from_numpy(split.labels).to(task.device)
    loader = open_loader(split, [centre_view(given)], given, task.seed, task.device)
    total = torch.zeros(len(alive), 2, dtype=torch.int64, device=task.device)
    for tuning in alive:
        tuning.net.eval()
    with torch.no_grad(), autocast(task.device, task.protocol.settings.precision):
        for batch in loader.batches(trial.test, 256, epoch=0) if alive else ():
            x, truth = channels_last(batch.views[0]), y[batch.index]
            for tuning, count in zip(alive, total, strict=True):
                logits = tuning.net(x).float()
                tuning.finite &= logits.isfinite().all()
                count += hits(logits, truth)
    counted = dict(zip(map(id, alive), (100 * total / len(trial.test)).tolist(), strict=True))
    return [(counted[id(t)][0], counted[id(t)][1]) if bool(t.finite) else None for t in tunings]
