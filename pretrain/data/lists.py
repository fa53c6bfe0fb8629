"""Text files that say which images belong, as what: read the same way everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pretrain.base.faults import Fault

LARGEST_LABEL = 10**7
SPARSE = 50_000  # classes that a list may number however short it is; more need a line each
DIGITS = 18  # of a label: int64 holds them, and more are refused anyway


class Row(NamedTuple):
    """A line `relative/path label` of a list, and its number in the file."""

    line: int
    path: str
    label: int


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, without the blanks at their ends, with their numbers in the file.

    A mark of the byte order in front, as Windows writes it, belongs to no line. Raises Fault (data-corrupt)
    where the file is no UTF-8 or cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if "\0" in line:  # UTF-16 without a mark
                    raise _unreadable(path, number)
                if line.strip():
                    yield number, line.rstrip()
    except UnicodeDecodeError:
        raise _unreadable(path, _undecodable(path)) from None
    except OSError as error:
        said = f"{path} cannot be read ({error.strerror}); expected a text file with a line per image"
        raise Fault("data-corrupt", said) from None


def _unreadable(path: Path, number: int) -> Fault:
    return Fault("data-corrupt", f"{path}:{number}: expected UTF-8, got other bytes; save the file as UTF-8")


def _undecodable(path: Path) -> int:
    """The number of the first line that is no UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def rows(path: Path) -> Iterator[Row]:
    """Lines `relative/path label`, cut at the last blank. Raises Fault naming file and line."""
    for number, line in lines(path):
        name, _, label = line.rpartition(" ")
        if not name or not (label.isascii() and label.isdigit()):
            raise Fault("data-corrupt", f"{path}:{number}: expected 'relative/path label', got '{line}'")
        yield Row(number, name, int(label.lstrip("0")[:DIGITS] or 0))


def classes(lists: Iterable[tuple[Path, Iterable[Row]]]) -> int:
    """How many classes lists number together: the largest label + 1. Raises Fault naming file and line where
    that are more than they have lines: a wrong label would make a class of every number below it.
    """
    count, largest, where = 0, -1, ""
    for path, listed in lists:
        for row in listed:
            count += 1
            if row.label > largest:
                largest, where = row.label, f"{path}:{row.line}"
    most = min(LARGEST_LABEL, max(SPARSE, count))
    if largest >= most:
        said = f"expected a label below {most:,}, for {count:,} lines, got {largest:,}"
        raise Fault("data-corrupt", f"{where}: {said}; number the classes from 0")
    return largest + 1
