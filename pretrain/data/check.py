"""Every image of a split, looked at before a training of hours. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from pretrain.base import cores
from pretrain.data import image
from pretrain.data.split import Place, Split

AT_A_TIME = 64  # images handed to a process


def bad_images(split: Split, processes: int | None = None) -> Iterator[tuple[Path, str]]:
    """Path and reason of each image that training could not read, in the order of the split.

    Each is decoded exactly as for training, on all cores or in that many processes: a file that is cut short
    often has a whole header.
    """
    # Spawned: a fork would copy the locks that other threads hold, such as CUDA's.
    pool = ProcessPoolExecutor(processes or cores.usable(), mp_context=get_context("spawn"))
    paths = [split.path(i) for i in range(len(split))]
    places = [split.place(i) for i in range(len(split))]
    try:
        for path, reason in zip(paths, pool.map(flaw, places, chunksize=AT_A_TIME), strict=True):
            if reason:
                yield path, reason
    finally:
        pool.shutdown(cancel_futures=True)


def flaw(place: Place) -> str:
    """Why the image there cannot be read; '' where it can."""
    try:
        image.rgb(place.opened())
    except FileNotFoundError:
        return "it is not there"
    except image.UNREADABLE as error:
        return f"it cannot be decoded ({error})"
    return ""
