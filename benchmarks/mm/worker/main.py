"""One detection or segmentation job in a process of its own: `python -m benchmarks.mm.worker.main JOB.json`.

Writes scores.json into the job's folder, or fault.json where it fails. Everything mm prints goes
to standard output, which the parent keeps as the log.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from benchmarks.mm.bridge import job as jobs
from benchmarks.mm.bridge.job import TAIL, Job
from benchmarks.mm.bridge.settings import Segmentation
from benchmarks.mm.worker import ops
from pretrain.base import files, process
from pretrain.base.faults import Fault, Reason

PACKAGES = ("mmcv", "mmcv-lite", "mmengine", "mmdet", "mmsegmentation", "torch", "torchvision", "pycocotools")
SCORES, FAULT, PROGRESS = "scores.json", "fault.json", "progress.jsonl"


def main(path: Path) -> int:
    """Runs the job of a file; the exit code is 0, or 1 where fault.json says why not."""
    process.follow_parent()
    job = jobs.read(path)
    try:
        record = run(job)
    except Fault as fault:
        print(f"{fault.reason}: {fault}", flush=True)
        return _fail(job, {"reason": fault.reason, "message": str(fault)})
    except Exception as error:
        print(traceback.format_exc(), flush=True)
        return _fail(job, _crash(error))
    if int(os.environ.get("RANK", "0")) == 0:
        files.write_text(job.work / SCORES, json.dumps(record, indent=1, sort_keys=True, allow_nan=False))
    return 0


def _fail(job: Job, told: dict[str, Any]) -> int:
    """Leaves fault.json: of the first process that fails, for the others then fail because it is gone."""
    if not (job.work / FAULT).exists():
        files.write_text(job.work / FAULT, json.dumps(told))
    return 1


def _crash(error: Exception) -> dict[str, Any]:
    reason: Reason = "oom-gpu" if isinstance(error, torch.OutOfMemoryError) else "worker-crash"
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    return {"reason": reason, "message": "\n".join(lines[-TAIL:]), "crash": True}


def run(job: Job) -> dict[str, Any]:
    """The record of a job, trained from the checkpoint or from where its folder's last mm checkpoint stands.

    Keys: `metrics` in percent, `images` tested, `counts` of odd annotations, `matched` tensors, `operators`,
    `versions`. Raises Fault on data or weights that cannot be used.
    """
    operators = ops.install()
    # mm's packages may be imported from here on.
    from mmengine.runner import Runner

    from benchmarks.mm.worker import data, detection, evaluators, heads, segmentation  # noqa: F401  they register their classes
    from benchmarks.mm.worker.hooks import INFO, Watch

    trust_own_checkpoints()
    found = data.prepare(job)
    if isinstance(job.settings, Segmentation):
        cfg = segmentation.build(job, job.settings, found)
    else:
        cfg = detection.build(job, job.settings, found)
    cfg.launcher = "pytorch" if job.processes > 1 else "none"
    runner = Runner.from_cfg(cfg)
    watch = Watch(job.weights, job.work / PROGRESS)
    runner.register_hook(watch)
    runner.train()
    if not watch.scores:  # resumed after the last step: trained, but killed in the test
        runner.val()
    return {
        "metrics": watch.scores,
        "images": found.images,
        "counts": found.counts,
        "matched": runner.message_hub.get_info(INFO),
        "operators": operators,
        "versions": _versions(),
    }


def trust_own_checkpoints() -> None:
    """Lets torch's safe loader read what mmengine saves beside tensors: its log buffers and numpy scalars."""
    import numpy as np
    from mmengine.logging import HistoryBuffer
    from numpy._core import multiarray

    kinds = [HistoryBuffer, np.ndarray, np.dtype, multiarray.scalar, multiarray._reconstruct, getattr]
    kinds += [np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType]
    torch.serialization.add_safe_globals(kinds)


def _versions() -> dict[str, str]:
    installed = {name: _version(name) for name in PACKAGES}
    return {name: version for name, version in installed.items() if version}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
