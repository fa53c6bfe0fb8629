"""Runs one job in this process and writes its record."""

from __future__ import annotations

import platform
import resource
import shutil
import subprocess
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import result
from benchmarks.protocol import Score, Task
from benchmarks.result import Metric, Result, Spread
from pretrain import files
from pretrain.faults import Fault, Reason
from pretrain.recipe import facts
from pretrain.split import Split, require_same_classes
from zoo.plan import GIVEN, Job, Planner, origin, version

if TYPE_CHECKING:
    import torch

Report = Callable[[int, int, str], None]


def run(job: Job, planner: Planner, device: torch.device, report: Report) -> Result:
    """Computes a job and writes its record: ok, or failed with reason and message. Interrupts pass through."""
    assert job.path is not None
    with files.explained(job.path.parent):
        job.path.parent.mkdir(parents=True, exist_ok=True)
    started, clock = datetime.now(UTC), time.perf_counter()
    found: dict[str, Any] = {"status": "ok", "metrics": [], "facts": {}}
    work = _pretrain if job.protocol is None else _benchmark
    try:
        found |= work(job, planner, device, report)
    except Exception as error:
        found |= _failure(error, job.path.parent)
    record = Result(
        key=job.key,
        suite=planner.suite.name,
        seed=job.seed,
        model=_model(job, planner),
        protocol=protocol_of(job),
        data=job.parts.get("data", {}),
        env=environment(),
        cost={"wall_s": time.perf_counter() - clock, **_memory()},
        time={"start": started.isoformat(), "end": datetime.now(UTC).isoformat()},
        **{**found, "facts": {**found["facts"], "parts": job.parts}},
    )
    return _written(job.path, record)


def _written(path: Path, record: Result) -> Result:
    """The record, kept at its path; where it cannot be kept, a failed one that says why."""
    try:
        result.write(path, record)
    except Fault as fault:
        why = str(fault) if record.status == "ok" else f"{record.message}; and its record could not be kept: {fault}"
        reason = fault.reason if record.status == "ok" else record.reason
        return record.model_copy(update={"status": "failed", "reason": reason, "message": why})
    return record


def _pretrain(job: Job, planner: Planner, device: torch.device, report: Report) -> dict[str, Any]:
    import json

    from pretrain import facts as cards
    from pretrain import loop

    assert job.path is not None
    recipe, folder = job.entry.recipe, job.path.parent
    empty = Split("no images", Path(), (), None, ())
    split = planner.split(planner.suite.images) if recipe.epochs else empty
    loop.fit(job.entry.method, recipe, split, folder, job.seed, device, report)
    card = cards.card(job.entry.method, recipe, split, folder)
    metrics = folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    last = json.loads(lines[-1]) if lines else {}
    shown = {
        name: last[name] for name in ("loss", "changed", "nmi_previous", "ami_previous") if last.get(name) is not None
    }
    scores = [_metric(Score(name, value, len(split), "train", unit="", better="")) for name, value in shown.items()]
    return {"metrics": scores, "facts": {"last": last, "card": card}}


def _benchmark(job: Job, planner: Planner, device: torch.device, report: Report) -> dict[str, Any]:
    import torch

    from pretrain import checkpoint

    assert job.protocol is not None
    assert job.path is not None
    path = planner.weights(job.entry, job.seed)
    backbone = checkpoint.load(path).to(device).to(memory_format=torch.channels_last)
    splits = {role: planner.split(reference) for role, reference in job.protocol.data.items()}
    require_same_classes(splits)
    work = job.path.parent / "work"
    work.mkdir(exist_ok=True)
    task = Task(
        protocol=job.protocol,
        checkpoint=path,
        backbone=backbone,
        splits=splits,
        roots={name: planner.suite.folder(name) for name in job.protocol.roots},
        work=work,
        cache=planner.home / "features",
        seed=job.seed,
        device=device,
        report=report,
    )
    outcome = job.protocol.run(task)
    if job.protocol.frozen and checkpoint.weights_hash(backbone.state_dict()) != checkpoint.describe(path).sha256:
        raise Fault("internal", f"{job.name} changed the backbone that it must keep frozen; its numbers are void")
    shutil.rmtree(work)
    return {"metrics": [_metric(score) for score in outcome.scores], "facts": outcome.facts}


def _metric(score: Score) -> Metric:
    """The metric of a score. Raises Fault (nan) on a value that is not finite."""
    if score.value != score.value or abs(score.value) == float("inf"):
        raise Fault("nan", f"{score.name} on {score.split} is {score.value}")
    spread = None
    if score.spread is not None:
        kind, values = score.spread
        mean = sum(values) / len(values)
        std = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
        spread = Spread(kind=kind, std=std, values=values)
    return Metric(**{**score._asdict(), "spread": spread})


def _failure(error: Exception, folder: Path) -> dict[str, Any]:
    """Status, reason and one sentence; a traceback is kept for what nobody foresaw."""
    reason: Reason = "internal"
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, Fault):
        reason, message = error.reason, str(error)
    elif type(error).__name__ == "OutOfMemoryError":
        reason, message = (
            "oom-gpu",
            f"the GPU ran out of memory ({error}); use a GPU with more, or a smaller batch",
        )
    elif isinstance(error, MemoryError):
        reason, message = "oom-host", f"the machine ran out of memory ({error})"
    else:
        with suppress(OSError):  # a full disk: the sentence alone has to do
            (folder / "traceback.txt").write_text(traceback.format_exc())
            message += f" (traceback: {folder / 'traceback.txt'})"
    return {"status": "failed", "reason": reason, "message": message}


def _model(job: Job, planner: Planner) -> dict[str, Any]:
    from pretrain import checkpoint

    path = planner.weights(job.entry, job.seed)
    model: dict[str, Any] = {
        "name": job.entry.name,
        "recipe": job.entry.recipe.name,
        "method": job.entry.method,
    }
    with suppress(Fault):  # no weights, or damaged ones: the message of the record says so
        meta = checkpoint.describe(path)
        if job.entry.method == GIVEN:
            model["recipe"] = origin(meta)
        model |= {"weights_sha256": meta.sha256, "tensors": meta.tensors, "arch": meta.arch}
    return model


def protocol_of(job: Job) -> dict[str, Any]:
    """What a record says of the recipe or protocol that made it."""
    if job.protocol is None:
        return {"name": "pretrain", "version": job.entry.recipe.version, "settings": facts(job.entry.recipe)}
    p = job.protocol
    return {
        "name": p.name,
        "version": p.version,
        "settings": facts(p.settings),
        "select_on": p.select_on,
        "report_on": p.report_on,
        "choose": p.choose,
        "source": p.source,
    }


@cache
def environment() -> dict[str, Any]:
    """Versions and hardware of this process: recorded, never part of a key."""
    import torch

    names = ("cluster-zoo", "torch", "torchvision", "numpy", "scikit-learn")
    return {
        "versions": {name: version(name) for name in names},
        "python": platform.python_version(),
        "git": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }


def _git(*words: str) -> str | None:
    try:
        here = Path(__file__).parent
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _memory() -> dict[str, float]:
    import torch

    found = {"peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    if torch.cuda.is_available():
        found["peak_gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return found
