"""Energy that a machine takes while a job runs, where it can be read: Intel's and AMD's counters, nvidia-smi.

Counters are of whole processors and cards: what else runs on them counts with the job.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")  # Linux: Documentation/power/powercap/powercap.rst
QUERY = ("nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits")
LOOK_SECONDS = 10.0  # between looks at the power of the cards
ANSWER_SECONDS = 5.0


class Energy:
    """Measures from now on. powercap: the folder of the counters; query: the command that prints watts, a
    line per card; gpus: whether there are cards to ask for.
    """

    def __init__(self, powercap: Path = POWERCAP, query: tuple[str, ...] = QUERY, gpus: bool = True) -> None:
        self._last = {path: count for path in _packages(powercap) if (count := _count(path)) is not None}
        self._cpu = 0.0
        self._query = query
        self._watts = _watts(query) if gpus else None
        self._gpu, self._clock = 0.0, time.monotonic()

    def look(self) -> None:
        """Adds what was taken since the last look; to be called every minute at least: counters overflow."""
        for path, before in self._last.items():
            if (now := _count(path)) is not None:
                self._cpu += (now - before if now >= before else now + _range(path) - before) / 1e6
                self._last[path] = now
        seconds = time.monotonic() - self._clock
        if self._watts is not None and seconds >= LOOK_SECONDS:
            self._integrate(seconds)

    def joules(self) -> dict[str, float]:
        """energy_cpu_j, energy_gpu_j: those that can be read."""
        self.look()
        if self._watts is not None:
            self._integrate(time.monotonic() - self._clock)
        cpu = {"energy_cpu_j": self._cpu} if self._last else {}
        return cpu | ({"energy_gpu_j": self._gpu} if self._watts is not None else {})

    def _integrate(self, seconds: float) -> None:
        """By the trapezoidal rule; where a look brings nothing, as the one before."""
        assert self._watts is not None
        now = _watts(self._query)
        now = self._watts if now is None else now
        self._gpu += seconds * (self._watts + now) / 2
        self._watts, self._clock = now, time.monotonic()


def _packages(folder: Path) -> list[Path]:
    """The zones of whole processors: `intel-rapl:0`; those below, `intel-rapl:0:0`, are parts of them."""
    return sorted(path for path in folder.glob("intel-rapl:*") if path.name.count(":") == 1)


def _count(zone: Path) -> int | None:
    """Microjoules; None where root alone may read them."""
    with suppress(OSError, ValueError):
        return int((zone / "energy_uj").read_text())
    return None


def _range(zone: Path) -> int:
    """Microjoules at which a counter begins anew."""
    with suppress(OSError, ValueError):
        return int((zone / "max_energy_range_uj").read_text())
    return 0


def _watts(query: tuple[str, ...]) -> float | None:
    """Of all cards that the command names; None where it says nothing of use."""
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True)
        return sum(float(line) for line in done.stdout.split()) if done.stdout.strip() else None
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
