"""Every image of a split, looked at before a training of hours. No torch here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from pretrain.base import cores
from pretrain.base.faults import Fault
from pretrain.data import image
from pretrain.data.split import Place, Split

AT_A_TIME = 64  # images handed to a process
AHEAD = 8  # times as many wait for each process: of 1.28 million images all places would be 1 GB

# Of each the first image, and why it and the next ones cannot be read.
Parts = deque[tuple[int, Future[list[str]]]]


def bad_images(split: Split, processes: int | None = None) -> Iterator[tuple[Path, str]]:
    """Path and reason of each image that training could not read, in the order of the split, as soon as it is
    found. Raises Fault (worker-crash) where a process is killed.

    Each is decoded exactly as for training, on all cores or in that many processes: a file that is cut short
    often has a whole header.
    """
    count, waiting = processes or cores.usable(), Parts()
    # Spawned: a fork would copy the locks that other threads hold, such as CUDA's.
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"))
    try:
        for first in range(0, len(split), AT_A_TIME):
            if len(waiting) == AHEAD * count:
                yield from _seen(split, waiting)
            places = [split.place(i) for i in range(first, min(first + AT_A_TIME, len(split)))]
            waiting.append((first, pool.submit(flaws, places)))
        while waiting:
            yield from _seen(split, waiting)
    except BrokenProcessPool:
        raise _killed(split, waiting, count) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _seen(split: Split, waiting: Parts) -> Iterator[tuple[Path, str]]:
    """The bad images of the first part that waits. Raises BrokenProcessPool, and leaves the part, where there
    is no answer.
    """
    first, part = waiting[0]
    reasons = part.result()
    waiting.popleft()
    yield from ((split.path(first + i), reason) for i, reason in enumerate(reasons) if reason)


def _killed(split: Split, waiting: Parts, count: int) -> Fault:
    """Among which images the one may be that cost a process its life: those that were at work."""
    first = waiting[0][0] if waiting else 0
    last = min(first + count * AT_A_TIME, len(split)) - 1
    said = f"{split.name}: a process that looked at images was killed, at one from {split.called(first)}"
    advice = "see whether memory ran out, and look at the largest of these images first"
    return Fault("worker-crash", f"{said} to {split.called(last)}; {advice}")


def flaws(places: list[Place]) -> list[str]:
    """Why the image at each place cannot be read; '' where it can."""
    return [flaw(place) for place in places]


def flaw(place: Place) -> str:
    """Why the image there cannot be read; '' where it can."""
    try:
        image.rgb(place.opened())
    except FileNotFoundError:
        return "it is not there"
    except image.UNREADABLE as error:
        return f"it cannot be decoded ({error})"
    return ""
