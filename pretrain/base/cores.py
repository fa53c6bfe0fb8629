"""How many cores this process may use: those it may run on, or fewer, as a container's quota or `ZOO_CORES`
say.

torch, BLAS and OpenMP count the cores of the machine. In a container with a quota of four on a machine of 64,
or where eight jobs of eight GPUs share it, their threads then wait for one another most of the time.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from pretrain.base.faults import Fault

VARIABLE = "ZOO_CORES"
THREADS = "OMP_NUM_THREADS"  # torch, MKL, OpenBLAS and OpenMP read it when they are loaded
_PROCESS, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def usable() -> int:
    """At least 1. Raises Fault where ZOO_CORES is no such number."""
    return min(runnable(), quota() or runnable(), asked() or runnable())


def runnable() -> int:
    """Cores that the system lets this process run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def asked() -> int | None:
    """What ZOO_CORES says, None where it is not set."""
    words = os.environ.get(VARIABLE, "")
    if not words:
        return None
    if not re.fullmatch("[1-9][0-9]{0,5}", words):
        said = f"{VARIABLE} is a number of cores from 1, not '{words}'; change it or unset it"
        raise Fault("bad-config", said)
    return int(words)


def quota(process: Path = _PROCESS, groups: Path = _GROUPS) -> int | None:
    """Cores' worth of time that the control groups of this process leave it, rounded up; None without a
    bound, and where the system has no such groups.

    process: the kernel's list of the groups; groups: where they are mounted. Of a group and those above it
    the smallest counts, in version 2 (`cpu.max`) and 1 (`cpu.cfs_quota_us`).
    """
    try:
        lines = [line.split(":", 2) for line in process.read_text().splitlines()]
    except OSError:
        return None
    bounds = [_second_version(groups / path.lstrip("/"), groups) for _, names, path in lines if not names]
    for _, names, path in lines:
        if "cpu" in names.split(","):
            root = next((root for root in (groups / names, groups / "cpu") if root.is_dir()), groups)
            bounds.append(_first_version(root / path.lstrip("/"), root))
    found = [cores for bound in bounds for cores in bound]
    return max(1, -int(-min(found) // 1)) if found else None


def _second_version(group: Path, root: Path) -> list[float]:
    words = [_words(above / "cpu.max") for above in _upwards(group, root)]
    return [int(limit) / int(period) for limit, period in words if limit.isdigit()]


def _first_version(group: Path, root: Path) -> list[float]:
    files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    words = [[_words(above / name)[0] for name in files] for above in _upwards(group, root)]
    return [int(limit) / int(period) for limit, period in words if limit.isdigit()]


def _upwards(group: Path, root: Path) -> list[Path]:
    """A group, those above it and the root, which stands for them in a container that sees no others."""
    return [group, *(above for above in group.parents if above.is_relative_to(root))]


def _words(file: Path) -> list[str]:
    """The two words of a file, or such as mean no bound."""
    try:
        return [*file.read_text().split(), "1"][:2]
    except OSError:
        return ["max", "1"]


def bind() -> None:
    """Bounds the threads of what is loaded from now on, where fewer cores may be used than are there.

    Who sets OMP_NUM_THREADS has decided, as torchrun does. Without a bound nothing is set, and nothing
    follows the machine's load: another number of threads gives other last digits.
    """
    if (cores := usable()) < runnable():
        ranks = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        os.environ.setdefault(THREADS, str(max(1, cores // ranks)))


def sentence() -> str:
    """What bounds the cores, and what follows; '' where nothing does."""
    if (cores := usable()) >= runnable():
        return ""
    why = VARIABLE if asked() == cores else "its container's quota"
    return f"{cores} of {runnable()} cores are used, as {why} says; threads: {os.environ.get(THREADS, cores)}"


def share(parts: int, of: int, processes: int) -> dict[str, str]:
    """The environment of a job that has `parts` of the `of` slots: its cores, and threads for each of its
    processes, or fewer where OMP_NUM_THREADS says so.
    """
    if of < 2:
        return {}
    mine = max(1, usable() * parts // of)
    threads = max(1, mine // processes)
    if (words := os.environ.get(THREADS, "")).isdecimal():
        threads = max(1, min(threads, int(words)))
    return {VARIABLE: str(mine), THREADS: str(threads)}
