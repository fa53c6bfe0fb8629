"""Runs a job in a process of its own and brings back its scores, its progress and its failure.

No mm package is imported here. Everything mm printed is kept in mm.log beside the job's folder; the folder holds
mm's own checkpoints, from which an interrupted run goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.mm import job as jobs
from benchmarks.mm.job import Job
from benchmarks.protocol import Task
from pretrain.faults import Fault, Reason

LOG = "mm.log"
TAIL = 12  # lines of the log in a message
POLL = 0.2  # seconds
GRACE = 10.0  # seconds that a stopped worker has to leave

Report = Callable[[int, int, str], None]


def missing() -> str | None:
    """Why detection and segmentation cannot run here, or None; nothing is imported to find out."""
    absent = [name for name in ("mmengine", "mmcv", "mmdet", "mmseg", "pycocotools") if not find_spec(name)]
    return f"{', '.join(absent)} not installed; reinstall cluster-zoo with its dependencies" if absent else None


def job(task: Task) -> Job:
    """The job of a task whose protocol reads one data set as a whole, on every GPU that this process may use.

    Of the visible GPUs the most are taken that share the batch evenly; their number does not decide the scores.
    """
    import torch

    from pretrain import checkpoint

    (root,) = (task.roots[name] for name in task.protocol.roots)
    visible = torch.cuda.device_count() if task.device.type == "cuda" else 0
    batch = task.protocol.settings.batch_size
    return Job(
        weights=task.checkpoint.resolve(),
        sha256=checkpoint.describe(task.checkpoint).sha256,
        root=root.resolve(),
        work=task.work.resolve(),
        seed=task.seed,
        gpus=max((n for n in range(1, visible + 1) if batch % n == 0), default=0),
        settings=task.protocol.settings,
    )


def run(job: Job, report: Report) -> dict[str, Any]:
    """The record that the worker wrote; `report(done, total, line)` is told of its progress.

    Raises:
        Fault: the worker's own, or worker-crash with the last lines of the log and its path.
    """
    path = _fresh(job)
    log = job.work.with_name(LOG)  # beside the folder, which goes when the record is written
    with log.open("ab") as out:
        process = subprocess.Popen(_command(job, path), stdout=out, stderr=subprocess.STDOUT, env=_environment(job))
    try:
        _follow(process, job.work / "progress.jsonl", report)
    finally:
        _stop(process)
    scores, fault = job.work / "scores.json", job.work / "fault.json"
    if fault.exists():
        told = json.loads(fault.read_text(encoding="utf-8"))
        raise Fault(told["reason"], told["message"])
    if process.returncode or not scores.exists():
        raise _crash(process.returncode, log)
    record: dict[str, Any] = json.loads(scores.read_text(encoding="utf-8"))
    return record


def _fresh(job: Job) -> Path:
    """The job's file, in a folder without answers of an earlier run, and without checkpoints of another job."""
    path = job.work / "job.json"
    if path.exists() and jobs.read(path) != job:
        shutil.rmtree(job.work)
    for name in ("scores.json", "fault.json", "progress.jsonl"):
        (job.work / name).unlink(missing_ok=True)
    jobs.write(path, job)
    return path


def _command(job: Job, path: Path) -> list[str]:
    module = ["-m", "benchmarks.mm.worker", str(path)]
    if job.processes == 1:
        return [sys.executable, *module]
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={job.processes}"]
    return [sys.executable, *launch, *module]


def _environment(job: Job) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    return env if job.gpus else {**env, "CUDA_VISIBLE_DEVICES": ""}


def _follow(process: subprocess.Popen[bytes], progress: Path, report: Report) -> None:
    told = 0
    while True:
        ended = process.poll() is not None
        lines = list(_lines(progress))
        for line in lines[told:][-1:]:
            eta = "" if line["eta"] is None else f", {line['eta']:.0f} s left"
            report(line["done"], line["total"], line["line"] + eta)
        told = len(lines)
        if ended:
            return
        time.sleep(POLL)


def _lines(progress: Path) -> Iterator[dict[str, Any]]:
    if progress.exists():
        *whole, _ = progress.read_text(encoding="utf-8").split("\n")  # what follows the last newline is half written
        yield from map(json.loads, whole)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the worker if it still runs; its readers of images, or its processes on other GPUs, go with it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _crash(code: int, log: Path) -> Fault:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    tail = "\n".join(lines[-TAIL:])
    reason: Reason = "worker-crash"
    if "OutOfMemoryError" in tail or "CUDA out of memory" in tail:
        reason = "oom-gpu"
    elif code in (-signal.SIGKILL, -signal.SIGTERM):
        reason = "killed"
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return Fault(reason, f"the mm worker {how}; its log is {log}, which ends:\n{tail}")
