"""What every mm configuration of ours changes in the
packages' own: weights, schedule, pixels, files, seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.utils import get_installed_path

from benchmarks.mm.bridge.job import Job
from benchmarks.mm.bridge.settings import Schedule
from pretrain.nets.checkpoint import Meta

CHECKPOINTS = 10  # a run that is killed loses at most this share of its length
LOADERS = 4  # processes that read images, per GPU


def shipped(package: str, name: str) -> Config:
    """A configuration as the installed package ships it."""
    path = Path(get_installed_path(package)) / ".mim" / "configs" / name
    # Formatted text would cost half a second at every checkpoint, which mm saves it with.
    return Config(Config.fromfile(str(path)).to_dict(), format_python_code=False)


def pixels(meta: Meta) -> dict[str, Any]:
    """How images enter: mm reads BGR from 0 to 255, the
    checkpoint was trained on RGB with its own mean and std.
    """
    return {
        "mean": [255 * value for value in meta.input.mean],
        "std": [255 * value for value in meta.input.std],
        "bgr_to_rgb": True,
    }


def complete(cfg: Config, job: Job, plan: Schedule) -> Config:
    """The configuration with everything that does not depend on
    the model: loaders, hooks, files, seed, resume.
    """
    cfg.work_dir, cfg.resume, cfg.load_from = str(job.work), True, None
    # mmengine adds the time in seconds, and gives a run of a known name the registries of the run before it.
    cfg.experiment_name = str(job.work)
    # Exact algorithms where they cost nothing; on CUDA RoIAlign's gradient has none.
    cfg.randomness = {"seed": job.seed, "deterministic": not torch.cuda.is_available()}
    cfg.env_cfg.cudnn_benchmark = False
    cfg.custom_hooks = []
    cfg.default_hooks.pop("visualization", None)
    cfg.default_hooks.logger.interval = 50
    _checkpoints(cfg, plan)
    workers = LOADERS if job.gpus else 0
    for name in ("train_dataloader", "val_dataloader"):
        cfg[name].num_workers, cfg[name].persistent_workers = workers, workers > 0
    cfg.train_dataloader.batch_size = plan.per_gpu
    cfg.optim_wrapper.optimizer.update(
        lr=plan.lr, momentum=job.settings.momentum, weight_decay=job.settings.weight_decay
    )
    cfg.test_dataloader, cfg.test_evaluator, cfg.test_cfg = None, None, None
    return cfg


def _checkpoints(cfg: Config, plan: Schedule) -> None:
    by_epoch = cfg.train_cfg.type == "EpochBasedTrainLoop"
    # Two, because mmengine deletes the oldest before it writes the next, and names that one only when it is
    # written.
    cfg.default_hooks.checkpoint.update(
        by_epoch=by_epoch, interval=max(1, plan.length // CHECKPOINTS), max_keep_ckpts=2, save_last=True
    )
    # Test once, at the end: the numbers reported are the last ones, and a test in between costs up to a
    # tenth.
    cfg.train_cfg.val_interval = plan.length
