"""The one exception that a user can cause: a reason from a
closed list and a sentence that says what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal, get_args

Reason = Literal[
    "oom-gpu",
    "oom-host",
    "disk-full",
    "nan",
    "timeout",
    "preempted",
    "killed",
    "data-missing",
    "data-corrupt",
    "weights-corrupt",
    "weights-mismatch",
    "dependency-missing",
    "bad-config",
    "busy",
    "worker-crash",
    "upstream",
    "internal",
]
REASONS: tuple[str, ...] = get_args(Reason)


class Fault(Exception):  # noqa: N818 - the word of the interface: a fault, its reason, its sentence
    """A foreseen failure: `reason` is one of `REASONS`, the message one sentence for the user."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type[Fault], tuple[Reason, str]]:
        return Fault, (self.reason, str(self))


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> Fault:
    """A bad-config fault that names the nearest known names, then all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    place = f" in {where}" if where else ""
    return Fault("bad-config", f"unknown {kind} '{name}'{place}{hint} (known: {', '.join(known)})")
