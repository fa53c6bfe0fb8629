"""Processes of our own: started with a log, stopped as a group, explained when they have ended; they follow
us.

Every child is told who waits for it (in its environment) and leaves when that process is gone, however it
went.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pretrain.base.faults import Fault, Reason

PARENT = "ZOO_PARENT"  # environment: id and start time of the process that waits
GRACE_SECONDS = 10.0  # that a stopped process has to leave
WATCH_SECONDS = 1.0
NO_THREAD = "can't start new thread"  # Python's words for it


@dataclass
class Child:
    """A running process in a group of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    started: datetime

    @property
    def code(self) -> int | None:
        """Exit code, below 0 for a signal; None while it runs."""
        return self.process.poll()

    def tail(self, lines: int) -> list[str]:
        """The end of its log."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        except OSError:
            return []


def start(
    argv: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path | None = None, append: bool = False
) -> Child:
    """Starts a process whose output goes to `log`; env is added to ours."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **env, PARENT: f"{os.getpid()} {_born(os.getpid())}"}
    with log.open("ab" if append else "wb") as out:
        process = subprocess.Popen(
            list(argv), stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=cwd, start_new_session=True
        )
    return Child(process, log, datetime.now(UTC))


def stop(children: Sequence[Child]) -> None:
    """Asks the groups of all children that still run to leave, then makes them."""
    running = [child for child in children if child.code is None]
    for child in running:
        _signal(child, signal.SIGTERM)
    for child in running:
        try:
            child.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            _signal(child, signal.SIGKILL)
            child.process.wait()


def _signal(child: Child, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)


def autopsy(code: int) -> tuple[Reason, str]:
    """Reason and words for how a process ended: by a signal
    (below 0, or above 128 as shells say it), or by itself.
    """
    number = -code if code < 0 else code - 128
    if number in set(signal.Signals):
        return "killed", f"was killed by signal {number} ({signal.Signals(number).name})"
    return "worker-crash", f"ended with exit code {code}"


def crash(child: Child, who: str, lines: int) -> Fault:
    """The fault of a child that ended without an answer; its log's end says more."""
    assert child.code is not None
    reason, how = autopsy(child.code)
    tail = child.tail(lines)
    if any("OutOfMemoryError" in line or "CUDA out of memory" in line for line in tail):
        reason = "oom-gpu"
    said = "\n".join(tail)
    return Fault(reason, f"{who} {how}; its log is {child.log}, which ends:\n{said}")


def barred(error: Exception) -> Fault | None:
    """The fault that an exception is where the system starts no process or thread more; None for others."""
    fork = isinstance(error, OSError) and error.errno == errno.EAGAIN and error.filename is None
    if not fork and not (isinstance(error, RuntimeError) and str(error) == NO_THREAD):
        return None
    said = f"the system starts no further process or thread ({error}): this user or container has as many as it may"
    advice = "raise that limit (ulimit -u, --pids-limit) or run less at a time (ZOO_CORES, --jobs)"
    return Fault("worker-crash", f"{said}; {advice}")


def follow_parent() -> None:
    """From now on this process ends soon after the one that
    started it: for the first lines of a child's main.
    """
    told = os.environ.get(PARENT, "")
    pid, _, born = told.partition(" ")
    if pid.isdigit():
        threading.Thread(target=_watch, args=(int(pid), born), daemon=True, name="follow-parent").start()


def _watch(pid: int, born: str) -> None:
    while _born(pid) == born:
        time.sleep(WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _born(pid: int) -> str:
    """When a process was started, in ticks since the machine
    was: tells it from a later one of the same id.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "gone" if os.path.isdir("/proc/self") else "unknown"
