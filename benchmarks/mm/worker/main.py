"""One detection or segmentation job in a process of its own: `python -m benchmarks.mm.worker.main JOB.json`.

Writes scores.json into the job's folder, or fault.json where it fails. Everything mm prints goes
to standard output, which the parent keeps as the log.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.mm.bridge import job as jobs
from benchmarks.mm.bridge import keep
from benchmarks.mm.bridge.job import TAIL, Job
from benchmarks.mm.bridge.settings import Segmentation
from benchmarks.mm.worker import ops
from pretrain.base import cores, files, process
from pretrain.base.faults import Fault, Reason
from pretrain.base.numerics import numerics

PACKAGES = ("mmcv", "mmcv-lite", "mmengine", "mmdet", "mmsegmentation", "torch", "torchvision", "pycocotools")
SCORES, FAULT, PROGRESS = "scores.json", "fault.json", "progress.jsonl"


# On a CPU the number of threads decides in which order sums are added; thousands of steps make of a last bit
# half a point of AP. So it is the same on every machine, whatever its cores; but on a single one two threads
# would wait for each other, for oneDNN's barriers spin: segmentation then takes ten times as long.
THREADS = 2


def main(path: Path) -> int:
    """Runs the job of a file; the exit code is 0, or 1 where fault.json says why not."""
    process.follow_parent()
    try:
        job = jobs.read(path)
    except Fault as fault:  # nobody waits for an answer in a folder that nobody knows
        print(f"{fault.reason}: {fault}", flush=True)
        return 1
    if not job.gpus:
        torch.set_num_threads(min(THREADS, cores.usable()))
    # Exact algorithms, which mm is asked for, would fill every new tensor with NaN first: 5 % of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        with numerics("fp32"):
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
    `versions`, `per_class` with `per_class_of` in words. Raises Fault on data or weights that cannot be used.
    """
    operators, wanted = ops.install(), keep.asked()
    # mm's packages may be imported from here on.
    from benchmarks.mm.worker import data, detection, evaluators, heads, precision, segmentation  # noqa: F401  they register their classes
    from benchmarks.mm.worker.hooks import Watch
    from benchmarks.mm.worker.looks import Looks
    from benchmarks.mm.worker.resume import INFO, JobRunner

    found = data.prepare(job)
    if isinstance(job.settings, Segmentation):
        cfg = segmentation.build(job, job.settings, found)
    else:
        cfg = detection.build(job, job.settings, found)
    cfg.launcher = "pytorch" if job.processes > 1 else "none"
    runner = JobRunner.from_cfg(cfg)
    if cfg.optim_wrapper.type == precision.BF16:
        runner.model = precision.laid_out(runner.model)
    watch = Watch(job.weights, job.work / PROGRESS)
    runner.register_hook(watch)
    voc = isinstance(job.settings, Segmentation) and job.settings.layout == "voc"
    runner.register_hook(Looks(job.work, "predictions" in wanted, background=0 if voc else None))
    runner.train()
    if not watch.scores:  # resumed after the last step: trained, but killed in the test
        runner.val()
    _keep(job, runner, wanted)
    tested = runner.val_evaluator.metrics[0]
    return {
        "metrics": watch.scores,
        "images": found.images,
        "counts": found.counts,
        "per_class": dict(tested.per_class),
        "per_class_of": tested.shown,
        "matched": runner.message_hub.get_info(INFO),
        "operators": operators,
        "versions": _versions(),
        "threads": torch.get_num_threads(),
    }


def _keep(job: Job, runner: Any, wanted: frozenset[str]) -> None:
    """What was asked for beside the numbers: mmdet's files of results, the network at the end."""
    if not wanted or int(os.environ.get("RANK", "0")):
        return
    folder = job.work / keep.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if "predictions" in wanted:
        for path in job.work.glob("results.*.json"):
            shutil.copyfile(path, folder / path.name)
    if "weights" in wanted:
        bare = getattr(runner.model, "module", runner.model)
        state = {name: value.detach().cpu().contiguous() for name, value in bare.state_dict().items()}
        files.write(folder / "network.safetensors", partial(save_file, state))


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
