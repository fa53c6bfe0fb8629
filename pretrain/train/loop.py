"""The training loop: one for every method, for one process or many, resumable to the bit.

A run's folder holds `state.pt` (everything a resumed run needs), `metrics.jsonl` (one line per interval) and,
once finished, `backbone.safetensors`, beside it the method's clusters where it has some. State is written at
the end of every epoch, and within one every ten minutes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from pretrain.base import dist, phase, watch
from pretrain.base.numerics import autocast, rounded
from pretrain.data.loader import Batch
from pretrain.data.split import Split
from pretrain.nets import checkpoint, clusters
from pretrain.train import optim, state
from pretrain.train.meter import Meter, Told
from pretrain.train.method import At, Loss
from pretrain.train.micro import Parts
from pretrain.train.recipe import Recipe
from pretrain.train.state import Report, Run

REPLICAS_EVERY = 100  # iterations between comparisons of the memories over ranks


def fit(
    name: str, recipe: Recipe, split: Split, out: Path, seed: int, device: torch.device, report: Report
) -> Path:
    """Pretrains method `name` by a recipe and returns the path of its backbone file; continues what `out`
    holds.

    Raises Fault: nan (non-finite loss, with epoch and iteration), data-corrupt, disk-full, bad-config.
    """
    recipe.fits(len(split), len(split.classes))
    told = Told(report, recipe.epochs * recipe.per_epoch(len(split)))
    with phase.heard(told.phase):
        run = state.begin(name, recipe, split, out, seed, device, told)
        meter = Meter(run)
        for batches in run.epochs():
            meter.restart()
            for batch in batches:
                watch.step(run.progress.epoch, run.progress.iteration)
                at, rate = run.at, optim.learning_rate(recipe, run.at.step, run.per_epoch)
                loss = step(run, batch, at, rate)
                run.progress.iteration += 1
                last = run.progress.iteration == run.per_epoch
                meter.add(at, loss, rate, last)
                if not last and state.due(run):
                    meter.flush()
                    state.save(run)
            run.method.after_epoch(run.progress.epoch)
            state.compare_replicas(run)
    path = out / "backbone.safetensors"
    if dist.rank() == 0:
        origin = {
            "method": name,
            "recipe": recipe.name,
            "seed": seed,
            "epochs": recipe.epochs,
            "data": split.name,
        }
        meta = checkpoint.save(path, run.method.result, recipe.arch, origin)
        clusters.keep(out, run.method.clustering(), name, meta.sha256)
    dist.barrier()
    return path


def step(run: Run, batch: Batch, at: At, rate: float) -> Loss:
    """One optimiser step and what it teaches the memories; its loss is still on the device."""
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    views = [view.contiguous(memory_format=torch.channels_last) for view in batch.views]
    with autocast(run.data.device, run.recipe.precision):
        loss = run.method.loss(run.net, dataclasses.replace(batch, views=views), at)
    run.optimizer.zero_grad(set_to_none=True)
    watch.went_on()  # gradients travel in here
    with rounded(run.recipe.precision):
        loss.value.backward()
        if isinstance(run.net, Parts):
            run.net.backward()
    run.method.before_step(at, run.optimizer)
    run.optimizer.step()
    run.method.after_step(at, *loss.seen)
    done, every = at.step + 1, run.recipe.check_every
    if every and done % every == 0:
        run.method.check()
    if done % REPLICAS_EVERY == 0:
        state.compare_replicas(run)
    return loss
