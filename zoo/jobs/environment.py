"""Versions and hardware of this process: recorded, never part of a key."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.contract.protocol import version

PACKAGES = ("cluster-zoo", "torch", "torchvision", "numpy", "scikit-learn")


@cache
def environment() -> dict[str, Any]:
    """What this process runs on."""
    import torch

    from pretrain.base.numerics import computes_bf16

    return {
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "git": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "device": torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "bf16": computes_bf16("cuda" if torch.cuda.is_available() else "cpu"),  # where asked for; else fp32
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _git(*words: str) -> str | None:
    here = Path(__file__).parent
    try:
        return subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
