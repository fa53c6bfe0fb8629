"""A pretraining run in memory, and its state on disk: what a resumed run needs to go on to the bit."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pretrain.base import dist, files
from pretrain.base.faults import Fault
from pretrain.data.fingerprint import of_split
from pretrain.data.loader import Batch
from pretrain.data.split import Split
from pretrain.nets.batch_norm import share_statistics
from pretrain.nets.resnet import ResNet
from pretrain.train import method, micro, optim
from pretrain.train.method import At
from pretrain.train.recipe import Recipe, key

SAVE_SECONDS = 600.0  # between states within an epoch, at least
Report = Callable[[int, int, str], None]  # iterations done, iterations in all, one line for people


@dataclass
class Progress:
    """Where a run stands; saved and restored with it.

    written: length of metrics.jsonl in bytes; guessed: epochs in a row whose loss was that of guessing.
    """

    epoch: int = 0
    iteration: int = 0  # within the epoch
    seconds: float = 0.0
    written: int = 0
    guessed: int = 0


@dataclass
class Run:
    """A run in memory. net: the method's, wrapped for several processes where there are several."""

    recipe: Recipe
    data: method.TrainingData
    out: Path
    method: method.Method
    net: nn.Module
    optimizer: torch.optim.Optimizer
    report: Report
    progress: Progress = field(default_factory=Progress)
    started: float = field(default_factory=time.perf_counter)  # or saved last

    @property
    def per_epoch(self) -> int:
        return self.data.per_epoch

    @cached_property
    def images(self) -> str:
        """Digest of which images are trained on, by name, and of their labels."""
        return of_split(self.data.split).more

    @property
    def at(self) -> At:
        """The step that comes next."""
        return At(self.progress.epoch, self.progress.epoch * self.per_epoch + self.progress.iteration)

    @property
    def seconds(self) -> float:
        """Of training so far, earlier sittings included."""
        return self.progress.seconds + time.perf_counter() - self.started

    def epochs(self) -> Iterator[Iterator[Batch]]:
        """The batches of every epoch that is left, the first from
        wherever it was left; clustering comes before.
        """
        while self.progress.epoch < self.recipe.epochs:
            epoch, first = self.progress.epoch, self.progress.iteration
            if first == 0:
                self.method.before_epoch(epoch, self.data)
            order = self.method.order(epoch, len(self.data.split), self.data.seed)
            yield self.data.batches(order, self.recipe.views, epoch, first)
            self.progress.epoch, self.progress.iteration = epoch + 1, 0
            save(self)


def begin(
    name: str, recipe: Recipe, split: Split, out: Path, seed: int, device: torch.device, report: Report
) -> Run:
    """A run of method `name`, as `out` left it or fresh, with its initial clustering done. Raises Fault."""
    if recipe.epochs and recipe.batch_size % dist.world_size():
        said = f"batch size {recipe.batch_size} must be a multiple of {dist.world_size()} processes"
        raise Fault("bad-config", f"{recipe.name}: {said}")
    with files.explained(out):
        out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed * 1000 + dist.rank())  # dropout differs between ranks
    made = method.find(name)(recipe, len(split), seed)
    if recipe.epochs:
        made.net = share_statistics(made.net, recipe.bn_group, recipe.batch_size, device.type)
    made.to(device).train()
    made.net.to(memory_format=torch.channels_last)
    net: nn.Module = made.net
    if dist.grouped() and any(True for _ in made.net.parameters()):
        ids = [device] if device.type == "cuda" else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch 2.15 has another word, which 2.11 lacks
            net = DistributedDataParallel(made.net, device_ids=ids, broadcast_buffers=False)
    net = micro.in_parts(net, recipe)
    if recipe.recompute:
        _recompute(made, recipe)
    labels = (
        None if split.labels is None or split.labels.ndim > 1 else torch.from_numpy(split.labels).to(device)
    )
    data = method.TrainingData(split, recipe, seed, device, labels)
    run = Run(recipe, data, out, made, net, optim.build(recipe, made.groups()), report)
    if not resume(run):
        made.start(data)
    return run


def _recompute(made: method.Method, recipe: Recipe) -> None:
    if not isinstance(made.backbone, ResNet):
        raise recipe.misfit(f"recompute is of the stages of a ResNet, not of {recipe.arch}; leave it out")
    made.backbone.recompute = True


def due(run: Run) -> bool:
    """Whether a state is to be written within the epoch: at a line of metrics.jsonl, so that none is cut in
    two, once enough time has passed by the clock of the first process.
    """
    if run.progress.iteration % run.recipe.log_every:
        return False
    return dist.agreed(time.perf_counter() - run.started >= SAVE_SECONDS)


def save(run: Run) -> None:
    """Writes state.pt, absent or complete, with the random state of every rank."""
    now = time.perf_counter()
    run.progress.seconds, run.started = run.progress.seconds + now - run.started, now
    rng = dist.all_gather_rows(_rng(run.data.device)[None])
    if dist.rank() > 0:
        return
    metrics = run.out / "metrics.jsonl"
    if metrics.exists():  # a power cut must not take the lines that the state says are written
        files.flush(metrics)
    state = {
        "key": key(run.recipe, seed=run.data.seed),
        "images": run.images,
        "net": run.method.net.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "memories": run.method.memories(),
        "progress": vars(run.progress),
        "rng": rng.cpu(),
    }
    files.write(run.out / "state.pt", lambda aside: torch.save(state, aside))


def resume(run: Run) -> bool:
    """Continues from state.pt if there is one. Raises Fault if it belongs to another recipe or is damaged."""
    path = run.out / "state.pt"
    if not path.exists():
        (run.out / "metrics.jsonl").unlink(missing_ok=True)
        return False
    try:
        files.whole(path)
        state = torch.load(path, map_location=run.data.device, weights_only=True)
    except Exception as error:  # torch raises many types on a damaged file
        # Before this word torch tells how to trust the file all the same.
        said = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())
        raise Fault(
            "weights-corrupt", f"{path} cannot be read ({said:.200}); delete it to start the run again"
        ) from error
    if state["key"] != key(run.recipe, seed=run.data.seed):
        raise Fault(
            "bad-config", f"{path} belongs to another recipe or seed; use another --out folder or delete it"
        )
    if state.get("images", run.images) != run.images:  # an older state does not say
        said = (
            f"belongs to other images or labels than those of {run.data.split.name} in {run.data.split.root}"
        )
        raise Fault("bad-config", f"{path} {said}; use another --out folder or delete it")
    run.method.net.load_state_dict(state["net"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.method.restore(state["memories"])
    run.progress = Progress(**state["progress"])
    rng = state["rng"].cpu()
    if len(rng) == dist.world_size():
        _set_rng(rng[dist.rank()], run.data.device)
    if dist.rank() == 0:
        _cut(run.out / "metrics.jsonl", run.progress)
    dist.barrier()
    return True


def _cut(metrics: Path, progress: Progress) -> None:
    """Takes off the lines written after the state was; a file that has lost lines goes on behind the last
    whole one.
    """
    lines = metrics.read_bytes()[: progress.written] if metrics.exists() else b""
    kept = lines.rfind(b"\n") + 1
    if lines:
        os.truncate(metrics, kept)
    progress.written = kept


def compare_replicas(run: Run) -> None:
    """Raises RuntimeError if a memory differs between two processes."""
    if dist.grouped():
        for name, tensor in run.method.memories().items():
            dist.assert_replicated(tensor, name)


def _rng(device: torch.device) -> Tensor:
    """Random state of this rank: the CPU generator's bytes, then the GPU's."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return torch.cat(states).to(device)


def _set_rng(saved: Tensor, device: torch.device) -> None:
    size = torch.get_rng_state().numel()
    torch.set_rng_state(saved[:size].clone())  # torch reads it as a whole storage: a view of one crashes
    if device.type == "cuda" and len(saved) > size:  # a run that began on a CPU may go on here
        torch.cuda.set_rng_state(saved[size:].clone(), device)
