"""Runs a job in a process of its own and brings back its scores, its progress and its failure.

No mm package is imported here. Everything mm printed is kept in mm.log beside the job's folder; the folder
holds mm's own checkpoints, from which an interrupted run goes on.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.contract.task import Task
from benchmarks.mm.bridge import answers, pointer
from benchmarks.mm.bridge import job as jobs
from benchmarks.mm.bridge.answers import Told
from benchmarks.mm.bridge.job import TAIL, Job
from pretrain.base import process
from pretrain.base.faults import Fault
from pretrain.base.process import Child

LOG = "mm.log"
POLL = 0.2  # seconds

Report = Callable[[int, int, str], None]


def missing() -> Fault | None:
    """Why detection and segmentation cannot run here, or None; nothing is imported to find out."""
    absent = [name for name in ("mmengine", "mmcv", "mmdet", "mmseg", "pycocotools") if not find_spec(name)]
    if not absent:
        return None
    return Fault(
        "dependency-missing",
        f"{', '.join(absent)} not installed; reinstall cluster-zoo with its dependencies",
    )


def job(task: Task) -> Job:
    """The job of a task whose protocol reads one data set as a whole, on every GPU that this process may use.

    Of the visible GPUs the most are taken that share the batch evenly; their number does not decide the
    scores.
    """
    import torch

    from pretrain.nets import checkpoint

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
    path = fresh(job)
    log = job.work.with_name(LOG)  # beside the folder, which goes when the record is written
    # mmengine leaves a folder where its processes were started: hence the job's own
    child = process.start(command(job, path), log, environment(job), cwd=job.work, append=True)
    try:
        _follow(child, job.work / "progress.jsonl", report)
    finally:
        process.stop([child])
    scores, fault = job.work / "scores.json", job.work / "fault.json"
    if fault.exists():
        raise _told(answers.fault(fault), log)
    if child.code or not scores.exists():
        raise process.crash(child, "the mm worker", TAIL)
    return answers.record(scores)


def fresh(job: Job) -> Path:
    """The job's file, in a folder without answers of an
    earlier run, and without checkpoints of another job.
    """
    path = job.work / "job.json"
    if path.exists() and not _same(path, job):
        shutil.rmtree(job.work)
    for name in ("scores.json", "fault.json", "progress.jsonl"):
        (job.work / name).unlink(missing_ok=True)
    jobs.write(path, job)
    if said := pointer.mend(job.work):
        with job.work.with_name(LOG).open("a", encoding="utf-8") as log:
            log.write(f"{said}\n")
    return path


def _same(path: Path, job: Job) -> bool:
    """Whether the folder is of this job. Where folder, weights and data lie, and how many GPUs share the
    batch, may be another thing since: a home is moved, a requeued job gets other machines.
    """
    try:
        left = jobs.read(path)
    except Fault:  # cut by a kill, or of another version: of another job, then
        return False
    return (left.sha256, left.seed, left.settings) == (job.sha256, job.seed, job.settings)


def command(job: Job, path: Path) -> list[str]:
    module = ["-m", "benchmarks.mm.worker.main", str(path)]
    if job.processes == 1:
        return [sys.executable, *module]
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={job.processes}"]
    return [sys.executable, *launch, *module]


def environment(job: Job) -> dict[str, str]:
    """What the worker needs beside our environment: the way to our code, and no GPU where it has none."""
    given = os.environ.get("PYTHONPATH")
    # Absolute, because the worker runs in the job's folder.
    paths = [str(Path(__file__).parents[3]), *(given.split(os.pathsep) if given else [])]
    env = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, paths)), "PYTHONUNBUFFERED": "1"}
    return env if job.gpus else {**env, "CUDA_VISIBLE_DEVICES": ""}


def _follow(child: Child, progress: Path, report: Report) -> None:
    read = 0
    while True:
        ended = child.code is not None
        lines, read = _lines(progress, read)
        for line in lines[-1:]:
            told = answers.progress(line, progress)
            report(told.done, told.total, answers.shown(told))
        if ended:
            return
        time.sleep(POLL)


def _lines(progress: Path, read: int) -> tuple[list[bytes], int]:
    """The lines from byte `read` on, and the byte behind them;
    what follows the last newline is half written.
    """
    if not progress.exists():
        return [], read
    with progress.open("rb") as file:
        file.seek(read)
        whole, newline, _ = file.read().rpartition(b"\n")
    return whole.splitlines(), read + len(whole) + len(newline)


def _told(told: Told, log: Path) -> Fault:
    """The worker's fault; that of a crash is the end of its
    traceback, which on several GPUs is deep in the log.
    """
    if told.crash:
        return Fault(
            told.reason,
            f"the mm worker ended with an error; its log is {log}, and the error is:\n{told.message}",
        )
    return Fault(told.reason, told.message)
