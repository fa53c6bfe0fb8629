"""Ranks that watch each other: one that is stopped or stuck is named after minutes, instead of waited for.

A thread of every rank tells a store that it lives, how far its main thread has come, and whether it
computes. The first two ranks read that. A rank is given up whose thread says nothing either (its process is
stopped, its machine is gone), or whose main thread neither goes on nor computes while another is ahead of it
and waits. Long computations are no silence, and where nobody is ahead, the time limit of the collectives
decides.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, NamedTuple

import torch.distributed as tdist

from pretrain.base.faults import Fault

VARIABLE = "ZOO_SILENCE_SECONDS"  # environment: how long a rank may say nothing; 0: for ever
SECONDS = 300.0
BEATS = 10  # in that time
LONGEST_BEAT = 5.0  # seconds
BUSY = 0.03, 0.02  # of a core, and seconds in a beat: threads that only look around use less
OWN = 1.5  # times as long before a rank ends for its own silence: another one says it first, and is heard
READERS = 2  # ranks that read what the others say: the second one is there for the silence of the first

Ended = Callable[[Fault], None]


class Said(NamedTuple):
    """What a rank tells. beats: of its thread; went: collectives and steps begun; worked: beats with a
    computation; left: it needs nobody any more.
    """

    beats: int
    went: int
    worked: int
    epoch: int
    step: int
    host: str
    left: bool = False


class _Pulse:
    """What the main thread leaves for its rank's watch: plain numbers, for it does so at every step."""

    went, epoch, step = 0, -1, 0


_PULSE = _Pulse()
_ENDED: list[Ended] = []
_GROUPS: list[int] = []  # one entry per group that this process has been in


def went_on() -> None:
    """The main thread begins something that the others may wait for."""
    _PULSE.went += 1


def step(epoch: int, iteration: int) -> None:
    """The main thread begins a step of the training."""
    _PULSE.epoch, _PULSE.step = epoch, iteration
    _PULSE.went += 1


@contextmanager
def told(ended: Ended) -> Iterator[None]:
    """For as long as the block lasts, `ended` is called before this process is ended for another's silence.

    It is called by a thread: the main one waits for the silent rank, and cannot be reached.
    """
    _ENDED.append(ended)
    try:
        yield
    finally:
        _ENDED.remove(ended)


def limit() -> float:
    """Seconds of silence that end a job; 0 for none. Raises Fault where the environment says no number."""
    said = os.environ.get(VARIABLE, str(SECONDS))
    try:
        seconds = float(said)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < threading.TIMEOUT_MAX:
        raise Fault("bad-config", f"{VARIABLE} must be a number of seconds, 0 for no limit, got '{said}'")
    return seconds


class Silence:
    """Finds the rank that says nothing in what all ranks have said, by the clock of the one who listens.

    seconds: of silence; world: how many ranks there are; rank: of the one who listens.
    """

    def __init__(self, seconds: float, world: int, rank: int) -> None:
        self.seconds, self.world, self.rank = seconds, world, rank
        self._lived: dict[int, tuple[int, float]] = {}
        self._went: dict[int, tuple[tuple[int, int], float]] = {}

    def forget(self) -> None:
        """Begins to listen anew: after a while in which nothing could be heard."""
        self._lived.clear()
        self._went.clear()

    def found(self, said: list[Said], now: float) -> Fault | None:
        """The fault of the first rank that has been silent for too long at `now` (seconds); None without."""
        ahead = max(one.went for one in said)
        for rank, one in enumerate(said):
            if self._lived.get(rank, (None, 0.0))[0] != one.beats:
                self._lived[rank] = one.beats, now
            if self._went.get(rank, (None, 0.0))[0] != (one.went, one.worked):
                self._went[rank] = (one.went, one.worked), now
            stopped, stuck = now - self._lived[rank][1], now - self._went[rank][1]
            patience = self.seconds * (OWN if rank == self.rank else 1)
            if not one.left and stopped > patience:
                return self._fault(rank, one, stopped)
            if not one.left and stuck > patience and one.went < ahead:
                return self._fault(rank, one, stuck)
        return None

    def _fault(self, rank: int, one: Said, seconds: float) -> Fault:
        last = f"its last word was of step {one.step} of epoch {one.epoch}"
        last = last if one.epoch >= 0 else "it began no step"
        return Fault(
            "timeout",
            f"rank {rank} of {self.world} on {one.host} has said nothing for {seconds:.0f} s, {last}; see what its "
            f"process waits for, then run again to go on; {VARIABLE} says how long a rank may be silent",
        )


class Watch:
    """The thread of this rank: tells, and on the first ranks listens, until it is closed."""

    def __init__(self, rank: int, world: int, seconds: float) -> None:
        self.rank, self.world = rank, world
        self.beat = min(LONGEST_BEAT, seconds / BEATS)
        self.silence = Silence(seconds, world, rank)
        self._group = len(_GROUPS)
        self._store: Any = None  # a TCPStore, whose type torch does not declare
        self._beats, self._worked, self._cpu, self._heard = 0, 0, time.process_time(), time.monotonic()
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="watch")
        self._thread.start()

    def close(self) -> None:
        """Says that this rank has left; the others do not wait for it any more."""
        self._halt.set()
        self._thread.join(self.beat)

    def _run(self) -> None:
        going = True
        while going:
            try:
                self._tell(left=False)
                fault = self._listen() if self.rank < READERS else None
                self._heard = time.monotonic()
            except Exception:  # many types: whoever holds the store is away
                self._store = None
                self.silence.forget()
                fault = self._unheard()
            if fault is not None and not self._halt.is_set():
                _end(fault)
            going = not self._halt.wait(self.beat)
        with suppress(Exception):
            self._tell(left=True)

    def _tell(self, left: bool) -> None:
        cpu = time.process_time()
        self._worked += cpu - self._cpu > max(BUSY[0] * self.beat, BUSY[1])
        self._beats, self._cpu = self._beats + 1, cpu
        pulse, host = _PULSE, socket.gethostname()
        said = Said(self._beats, pulse.went, self._worked, pulse.epoch, pulse.step, host, left)
        self._open().set(self._key(self.rank), json.dumps(said))

    def _listen(self) -> Fault | None:
        now, store, keys = time.monotonic(), self._open(), [self._key(rank) for rank in range(self.world)]
        if now - self._heard > 3 * self.beat + 1:  # this machine slept, and maybe the others with it
            self.silence.forget()
        if not store.check(keys):
            return None
        return self.silence.found([Said(*json.loads(one)) for one in store.multi_get(keys)], now)

    def _unheard(self) -> Fault | None:
        seconds = time.monotonic() - self._heard
        if seconds <= self.silence.seconds + self.beat:
            return None
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        said = f"the process at {where}, where {self.world} ranks meet, has not answered for {seconds:.0f} s"
        return Fault("timeout", f"{said}; see whether that machine is well, then run again to go on")

    def _open(self) -> Any:
        """A connection of its own: that of the group may be blocked by the main thread."""
        if self._store is None:
            host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            wait = timedelta(seconds=max(1.0, self.beat))
            store = tdist.TCPStore  # type: ignore[attr-defined]
            self._store = store(host, port, is_master=False, timeout=wait, wait_for_workers=False)
        return self._store

    def _key(self, rank: int) -> str:
        return f"zoo/watch/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{self._group}/{rank}"


def begin(rank: int, world: int) -> Watch | None:
    """The watch of this rank, of a group that has met by the environment; None where it is switched off.

    Raises Fault where the environment says no number of seconds.
    """
    seconds = limit()
    _GROUPS.append(world)
    return Watch(rank, world, seconds) if seconds else None


def _end(fault: Fault) -> None:
    """Ends this process, whatever its main thread waits for; whoever is to be told is told before."""
    try:
        for ended in list(_ENDED):
            ended(fault)
        if not _ENDED:
            print(f"{fault.reason}: {fault}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)
