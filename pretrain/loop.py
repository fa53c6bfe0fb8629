"""The training loop: one for every method, for one process or many, resumable to the bit.

A run's folder holds `state.pt` (everything a resumed run needs), `metrics.jsonl` (one line per interval) and, once
finished, `backbone.safetensors`. State is written at the end of every epoch and every 1000 iterations within one.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pretrain import checkpoint, dist, files, method, optim
from pretrain import recipe as recipes
from pretrain.faults import Fault
from pretrain.lagged import Lagged
from pretrain.network import share_statistics
from pretrain.recipe import Recipe
from pretrain.split import Split

SAVE_EVERY = 1000  # iterations within an epoch
REPLICAS_EVERY = 100  # iterations between comparisons of the memories over ranks

Report = Callable[[int, int, str], None]  # iterations done, iterations in all, one line for people


@dataclass
class Progress:
    """Where a run stands; saved and restored with it. written: length of metrics.jsonl in bytes."""

    epoch: int = 0
    iteration: int = 0  # within the epoch
    seconds: float = 0.0
    written: int = 0


@dataclass
class Training:
    """A run in memory."""

    recipe: Recipe
    data: method.Data
    out: Path
    method: method.Method
    net: nn.Module
    optimizer: torch.optim.Optimizer
    progress: Progress
    report: Report
    started: float = field(default_factory=time.perf_counter)

    @property
    def per_epoch(self) -> int:
        return self.data.per_epoch


def fit(name: str, recipe: Recipe, split: Split, out: Path, seed: int, device: torch.device, report: Report) -> Path:
    """Pretrains method `name` by a recipe and returns the path of its backbone file; continues what `out` holds.

    Raises Fault: nan (non-finite loss, with epoch and iteration), data-corrupt, disk-full, bad-config.
    """
    if recipe.epochs and (recipe.batch_size % dist.world_size() or len(split) < recipe.batch_size):
        raise Fault(
            "bad-config",
            f"{recipe.name}: batch size {recipe.batch_size} must be a multiple of {dist.world_size()} processes and at "
            f"most the {len(split)} images of {split.name}",
        )
    with files.explained(out):
        out.mkdir(parents=True, exist_ok=True)
    training = _prepare(name, recipe, split, out, seed, device, report)
    while training.progress.epoch < recipe.epochs:
        _epoch(training)
    path = out / "backbone.safetensors"
    if dist.rank() == 0:
        origin = {
            "method": name,
            "recipe": recipe.name,
            "seed": seed,
            "epochs": recipe.epochs,
            "data": split.name,
        }
        checkpoint.save(path, training.method.backbone, recipe.arch, origin)
    dist.barrier()
    return path


def _prepare(
    name: str, recipe: Recipe, split: Split, out: Path, seed: int, device: torch.device, report: Report
) -> Training:
    torch.manual_seed(seed * 1000 + dist.rank())  # dropout differs between ranks
    made = method.find(name)(recipe, len(split), device, seed)
    if recipe.sync_bn and device.type == "cuda":
        made.net = share_statistics(made.net, recipe.bn_group, recipe.batch_size)
    made.net.to(device).to(memory_format=torch.channels_last).train()
    net: nn.Module = made.net
    if dist.world_size() > 1:
        ids = [device] if device.type == "cuda" else None
        net = DistributedDataParallel(made.net, device_ids=ids, broadcast_buffers=False)
    labels = None if split.labels is None or split.labels.ndim > 1 else torch.from_numpy(split.labels).to(device)
    data = method.Data(split, recipe, seed, device, labels)
    optimizer = optim.build(recipe, made.groups())
    training = Training(recipe, data, out, made, net, optimizer, Progress(), report)
    if not _resume(training):
        made.start(data)
    return training


def _epoch(run: Training) -> None:
    """One epoch, from wherever it was left."""
    recipe, progress = run.recipe, run.progress
    epoch, first = progress.epoch, progress.iteration
    if first == 0:
        run.method.before_epoch(epoch, run.data)
    order = run.method.order(epoch, len(run.data.split), run.data.seed)
    meter = Meter(run)
    for batch in run.data.batches(order, recipe.views, epoch, first):
        step = epoch * run.per_epoch + progress.iteration
        loss = _step(run, batch, step)
        progress.iteration += 1
        last = progress.iteration == run.per_epoch
        meter.add(loss, optim.learning_rate(recipe, step, run.per_epoch), last)
        if progress.iteration % SAVE_EVERY == 0 and not last:
            meter.flush()
            _save(run)
    _compare_replicas(run)
    progress.epoch, progress.iteration = epoch + 1, 0
    _save(run)


def _step(run: Training, batch: Any, step: int) -> Tensor:
    """One optimiser step; returns the loss, still on the device."""
    rate = optim.learning_rate(run.recipe, step, run.per_epoch)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    views = [view.contiguous(memory_format=torch.channels_last) for view in batch.views]
    with method.autocast(run.data.device, run.recipe.precision):
        loss = run.method.loss(run.net, dataclasses.replace(batch, views=views))
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    run.method.before_step(step + 1, run.optimizer)
    run.optimizer.step()
    run.method.after_step(step + 1)
    if run.recipe.check_every and (step + 1) % run.recipe.check_every == 0:
        run.method.check()
    if (step + 1) % REPLICAS_EVERY == 0:
        _compare_replicas(run)
    return loss.detach()


def _compare_replicas(run: Training) -> None:
    """Raises RuntimeError if the memories of two processes differ."""
    if dist.world_size() > 1:
        for name, tensor in run.method.state().items():
            dist.assert_replicated(tensor, name)


class Meter:
    """Sums losses on the device, writes a line per interval, and stops the run on a non-finite loss.

    The loss of a step is looked at while the next one runs, so a GPU never waits for the host.
    """

    def __init__(self, run: Training) -> None:
        self.run = run
        self.pending: tuple[Lagged, str] | None = None
        self._restart()

    def _restart(self) -> None:
        self.sum, self.steps, self.since = (
            torch.zeros((), device=self.run.data.device),
            0,
            time.perf_counter(),
        )

    def add(self, loss: Tensor, lr: float, last: bool) -> None:
        """Takes a step's loss; writes a line at each interval and at the end of the epoch."""
        self._look()
        progress = self.run.progress
        self.pending = (Lagged(loss), f"epoch {progress.epoch + 1}, iteration {progress.iteration}")
        self.sum += loss.float()
        self.steps += 1
        if last or progress.iteration % self.run.recipe.log_every == 0:
            self.flush()
            self._write(lr, last)
            self._restart()

    def flush(self) -> None:
        """Waits for the last loss and checks it: called before anything is saved."""
        self._look()
        self.pending = None

    def _look(self) -> None:
        if self.pending is None:
            return
        value, where = self.pending[0].read(), self.pending[1]
        if not math.isfinite(value):
            said = f"the loss is {value} at {where}; the last saved state is untouched, try a lower learning rate"
            raise Fault("nan", f"{self.run.recipe.name}: {said}")

    def _write(self, lr: float, last: bool) -> None:
        run, progress = self.run, self.run.progress
        seconds = time.perf_counter() - self.since
        row: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "iteration": progress.epoch * run.per_epoch + progress.iteration,
            "loss": (self.sum / self.steps).item(),
            "lr": lr,
            "images_per_s": self.steps * run.recipe.batch_size / seconds,
            "seconds": progress.seconds + time.perf_counter() - run.started,
            **run.method.diagnostics(),
        }
        if last:
            row |= run.method.epoch_diagnostics(run.data)
        if dist.rank() == 0:
            _append(run.out / "metrics.jsonl", progress, row)
        total = run.recipe.epochs * run.per_epoch
        rate = f"{row['images_per_s']:.0f} images/s"
        run.report(row["iteration"], total, f"epoch {row['epoch']}/{run.recipe.epochs} loss {row['loss']:.3f} {rate}")
        if "warning" in row:
            run.report(row["iteration"], total, f"warning: {row['warning']}")


def _append(path: Path, progress: Progress, row: dict[str, Any]) -> None:
    """One JSON object per line, one write per line."""
    line = json.dumps({k: _finite(v) for k, v in row.items()}) + "\n"
    with files.explained(path), path.open("ab", buffering=0) as file:
        file.write(line.encode())
    progress.written += len(line.encode())


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _save(run: Training) -> None:
    """Everything a resumed run needs, absent or complete; the random state of every rank."""
    now = time.perf_counter()
    run.progress.seconds, run.started = run.progress.seconds + now - run.started, now
    rng = dist.all_gather_rows(_rng(run.data.device)[None])
    if dist.rank() > 0:
        return
    state = {
        "key": recipes.key(run.recipe, seed=run.data.seed),
        "net": run.method.net.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "method": run.method.state(),
        "progress": vars(run.progress),
        "rng": rng.cpu(),
    }
    files.write(run.out / "state.pt", lambda aside: torch.save(state, aside))


def _rng(device: torch.device) -> Tensor:
    """Random state of this rank: the CPU generator's bytes, then the GPU's."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return torch.cat(states).to(device)


def _set_rng(saved: Tensor, device: torch.device) -> None:
    size = torch.get_rng_state().numel()
    torch.set_rng_state(saved[:size].clone())  # torch reads it as a whole storage: a view of one crashes
    if device.type == "cuda":
        torch.cuda.set_rng_state(saved[size:].clone(), device)


def _resume(run: Training) -> bool:
    """Continues from state.pt if there is one. Raises Fault if it belongs to another recipe or is damaged."""
    path = run.out / "state.pt"
    if not path.exists():
        (run.out / "metrics.jsonl").unlink(missing_ok=True)
        return False
    try:
        state = torch.load(path, map_location=run.data.device, weights_only=True)
    except Exception as error:  # torch raises many types on a damaged file
        raise Fault("weights-corrupt", f"{path} cannot be read ({error}); delete it to start the run again") from error
    if state["key"] != recipes.key(run.recipe, seed=run.data.seed):
        raise Fault("bad-config", f"{path} belongs to another recipe or seed; use another --out folder or delete it")
    run.method.net.load_state_dict(state["net"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.method.load_state(state["method"])
    run.progress = Progress(**state["progress"])
    rng = state["rng"].cpu()
    if len(rng) == dist.world_size():
        _set_rng(rng[dist.rank()], run.data.device)
    if dist.rank() == 0 and (run.out / "metrics.jsonl").exists():
        os.truncate(run.out / "metrics.jsonl", run.progress.written)
    dist.barrier()
    return True
