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


LONGEST = 8000  # characters of a message: the end of a log fits
NAMED = 200  # characters of a name inside of a message


def printable(text: str, limit: int = NAMED, keep: str = "") -> str:
    """The text in at most `limit` characters that no terminal, log or page takes for a command.

    Control characters, escapes, line ends, bidirectional marks, lone surrogates and odd spaces are written as
    Python writes them (\\x1b, \\u202e); those in `keep` stay. Of a long text the middle is left out.
    """
    shown = _ends(text, limit, len(text))
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() or c in keep else _escaped(c) for c in shown)
    return _ends(shown, limit, len(text))


def _ends(text: str, limit: int, count: int) -> str:
    if len(text) <= limit:
        return text
    gap = f" ...[{count} characters]... "
    kept = limit - len(gap)
    return text[: kept - kept // 3] + gap + text[len(text) - kept // 3 :] if kept > 0 else text[:limit]


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class Fault(Exception):  # noqa: N818 - the word of the interface: a fault, its reason, its sentence
    """A foreseen failure: `reason` is one of `REASONS`, the message one sentence for the user.

    Whatever names a message holds, it is printable; the lines of a log stay lines.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(printable(message, LONGEST, keep="\n\t"))
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type[Fault], tuple[Reason, str]]:
        return Fault, (self.reason, str(self))


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> Fault:
    """A bad-config fault that names the nearest known names, then all of them."""
    known = sorted(known)
    near = _near(name, known)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    place = f" in {where}" if where else ""
    return Fault("bad-config", f"unknown {kind} '{name}'{place}{hint} (known: {', '.join(known)})")


def _near(name: str, known: list[str]) -> list[str]:
    """Known names that hold this one, or else look like it, in any case; two at most."""
    lower = {one.lower(): one for one in known}
    holding = [one for one in lower if name and name.lower() in one]
    like = difflib.get_close_matches(name.lower(), lower, n=2, cutoff=0.5)
    return [lower[one] for one in dict.fromkeys([*sorted(holding, key=len), *like])][:2]
