"""How far long work between two steps has come, such as a k-means or a pass over all images.

Whoever does it says so with `went`; the run that it is part of listens, and tells people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Heard = Callable[[str, int, int], None]  # what is done, how much of it, of how much
_HEARD: list[Heard] = []


@contextmanager
def heard(by: Heard) -> Iterator[None]:
    """For as long as the block lasts, `by` is told what goes on; the innermost block hears."""
    _HEARD.append(by)
    try:
        yield
    finally:
        _HEARD.remove(by)


def went(what: str, done: int, total: int) -> None:
    """Part of some long work is done. Cheap: whoever listens chooses what is shown."""
    for by in _HEARD[-1:]:
        by(what, done, total)
