"""What a job costs: wall time and energy over all of its sittings, and the most memory that its processes
held at once.

Memory is the job's own: peaks begin anew with every job of a process, and what loader workers and foreign
trainers hold is counted with it. What an interrupted sitting has cost stands in the job's folder until the
job is done, so that a killed one loses seconds of it at most.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pretrain.base import files
from pretrain.base.faults import Fault
from zoo.jobs.energy import Energy

SPENT = "spent.json"  # in the folder of a job that is not done
LOOK_SECONDS = 1.0  # between looks at the memory of children
KEEP_SECONDS = 15.0  # between notes of what was spent
Costs = dict[str, float]


class Meter:
    """Measures a job from now on. folder: where earlier sittings have left what they cost, and this one does;
    None: nothing is read or left there.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._before = _spent(folder) if folder else {}
        self._clock, self._together = time.perf_counter(), 0.0
        self._energy, self._looks = Energy(gpus=cards()), threading.Lock()
        _forget_peaks()
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="cost")
        self._thread.start()

    def costs(self) -> Costs:
        """wall_s: seconds of all sittings; energy_cpu_j, energy_gpu_j: where they can be read; peak_rss_mib:
        of the processes together; peak_gpu_mib: of ours.
        """
        found = {"peak_rss_mib": max(_peak_mib(), self._together), **_gpu()}
        found = {name: max(value, self._before.get(name, 0.0)) for name, value in found.items()}
        with self._looks:
            added = {"wall_s": time.perf_counter() - self._clock, **self._energy.joules()}
        return {name: value + self._before.get(name, 0.0) for name, value in added.items()} | found

    def close(self, done: bool) -> None:
        """Ends the measuring; done: nothing of it is needed by another sitting."""
        self._halt.set()
        self._thread.join()
        if self.folder and done:
            with suppress(OSError):
                (self.folder / SPENT).unlink(missing_ok=True)
        else:
            self._keep()

    def _run(self) -> None:
        kept = time.monotonic()
        while not self._halt.wait(LOOK_SECONDS):
            self._together = max(self._together, together_mib())
            with self._looks:
                self._energy.look()
            if time.monotonic() - kept >= KEEP_SECONDS:
                self._keep()
                kept = time.monotonic()

    def _keep(self) -> None:
        if self.folder and self.folder.is_dir():
            with suppress(Fault, OSError):  # a full disk: the job itself will say so
                files.write_text(self.folder / SPENT, json.dumps(self.costs()))


@contextmanager
def metered(folder: Path | None) -> Iterator[Meter]:
    """The meter of the block; what it has measured is left for the next sitting, unless it was closed."""
    meter = Meter(folder)
    try:
        yield meter
    except BaseException:
        meter.close(done=False)
        raise


def _spent(folder: Path) -> Costs:
    """What earlier sittings have cost; nothing where no file says so."""
    try:
        body = json.loads((folder / SPENT).read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in body.items() if 0 <= float(value) < 1e12}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _forget_peaks() -> None:
    """The peaks of this process begin anew, where the system allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # man 5 proc: resets the peak resident set size
    if cards():
        import torch

        torch.cuda.reset_peak_memory_stats()


def cards() -> bool:
    """Whether there are GPUs to measure."""
    import torch

    return torch.cuda.is_available()


def _gpu() -> Costs:
    if not cards():
        return {}
    import torch

    return {"peak_gpu_mib": torch.cuda.max_memory_allocated() / 2**20}


def _peak_mib() -> float:
    """Peak of this process since `_forget_peaks`."""
    return _kib(Path("/proc/self/status"), "VmHWM:") / 1024


def together_mib() -> float:
    """Memory of this process and all below it, MiB; pages that they share count once. 0 without children."""
    if not (children := _below("self")):
        return 0.0
    status, shares = Path("/proc/self/status"), Path("/proc/self/smaps_rollup")
    # Our libraries count in full, as in our own peak: strangers that have them loaded, too, take nothing off.
    mine = _kib(shares, "Pss_Anon:") + _kib(status, "RssFile:") + _kib(status, "RssShmem:")
    return (mine + sum(_kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in children)) / 1024


def _below(pid: str) -> list[str]:
    """Ids of the processes that a process has started, and of those that these have."""
    found = list[str]()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in path.read_text().split():
                found += [child, *_below(child)]
    return found


def _kib(path: Path, name: str) -> float:
    """A line of a file of /proc in KiB; 0 where there is none (another system, a process that has ended)."""
    with suppress(OSError, ValueError, IndexError):
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return float(line.split()[1])
    return 0.0
