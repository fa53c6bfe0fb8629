"""Carries out a plan: job after job, each leaving its record, one failure stopping none of the others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain import files
from pretrain.faults import Fault
from zoo.plan import GIVEN, Job, Planner
from zoo.progress import Display
from zoo.suite import draw

if TYPE_CHECKING:
    import torch

    from benchmarks.result import Result
    from zoo.call import Call

ENGINES = ("inline", "local")


def ready(home: Path, overwrite: str, gpus: int) -> None:
    """Checks, before the first second of work, what can be checked. Raises Fault."""
    if overwrite not in ("missing", "always"):
        raise Fault("bad-config", f"--overwrite expects missing or always, got '{overwrite}'")
    with files.explained(home):
        home.mkdir(parents=True, exist_ok=True)
        probe = home / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    if gpus:
        import torch

        if (found := torch.cuda.device_count()) < gpus:
            raise Fault("dependency-missing", f"--gpus {gpus} asked for, {found} found; run nvidia-smi to see why")


def run(call: Call, jobs: list[Job], engine: str, gpus: int, again: bool) -> bool:
    """Runs every job that has to run; returns whether one failed. Rank 0 alone runs benchmarks."""
    if engine not in ENGINES:
        raise Fault("bad-config", f"--engine expects one of {', '.join(ENGINES)}, got '{engine}'")
    if again and not call.alone and int(os.environ.get("RANK", "0")) == 0:
        forget(call.home)
    if engine == "local" or gpus > 1:
        from zoo.engines import local

        return local.run(call, jobs, gpus, again)
    import torch

    from pretrain import dist

    device = dist.start("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return _inline(call, device, again)
    finally:
        dist.stop()


def forget(home: Path) -> None:
    """Deletes the cached features and SVMs: what is computed again must not be read back."""
    shutil.rmtree(home / "features", ignore_errors=True)


def _inline(call: Call, device: torch.device, again: bool) -> bool:
    from pretrain import dist

    if dist.rank() == 0:
        draw(call.suite)
    dist.barrier()
    planner = call.planner()
    total = len(call.entries) * len(call.seeds) * (1 + len(call.protocols))
    display, failed = Display(total), False
    train_again = again and not (call.alone and call.protocols)  # its parent has trained again already
    for entry in call.entries:
        for seed in call.seeds:
            pretraining = planner.pretraining(entry, seed)
            if not _carry_out(pretraining, planner, device, display, train_again):
                failed = True
                continue
            if dist.rank() > 0:
                continue
            pretraining = planner.pretraining(entry, seed)
            for protocol in call.protocols:
                job = planner.benchmark(entry, protocol, seed, pretraining)
                failed |= not _carry_out(job, planner, device, display, again)
    return failed


def _carry_out(job: Job, planner: Planner, device: torch.device, display: Display, again: bool) -> bool:
    """Runs a job if it has to; False if it failed."""
    from pretrain import dist
    from zoo.engines import inline

    label = f"{job.entry.name} {job.name}" + (f" seed {job.seed}" if job.seed else "")
    if job.state == "skip" or (job.state == "done" and (not again or (job.entry.method == GIVEN and not job.protocol))):
        display.number += 1
        display.line(f"[{display.number}/{display.jobs}] {label}: {job.state} ({job.reason})")
        return True
    if job.path is None:  # what it needs is there, but wrong
        display.number += 1
        display.line(f"[{display.number}/{display.jobs}] {label}: {job.reason}")
        return False
    if again and dist.rank() == 0:
        shutil.rmtree(job.path.parent, ignore_errors=True)
    dist.barrier()
    try:
        with files.lease(job.path.parent / "lease", dist.rank()), display.job(label):
            record = inline.run(job, planner, device, display.report)
    except Fault as fault:  # not even its folder can be written
        if dist.world_size() > 1:  # the other processes would wait for this one
            raise
        display.line(f"{label}: FAILED ({fault.reason}): {fault}")
        return False
    if record.status == "ok":
        display.line(f"{display.label}: done in {display.seconds:.0f} s{_headline(record)}")
        return True
    display.line(f"{display.label}: FAILED ({record.reason}): {record.message}")
    return False


def _headline(record: Result) -> str:
    shown = [f"{m.name} {m.value:.2f}" for m in record.metrics[:3]]
    return f"; {', '.join(shown)}" if shown else ""
