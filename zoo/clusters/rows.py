"""An array on disk that grows part by part, so that whoever is killed in the middle goes on where it was.

    .NAME.rows      a .npy file; parts are appended, in order
    .NAME.journal   a line of JSON first for what the array is of, then for every part, with its checksum

A part counts once its line is on disk and its bytes have that checksum; what follows the first that has not
is computed again. The values of a part depend on nothing before it, so the result is the same to the bit.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pretrain.base import files

Values = npt.NDArray[Any]
PART = 4096  # images


class Part(NamedTuple):
    """values (n, width); bad: what is wrong with rows that hold no values, by their number in the whole."""

    values: Values
    bad: dict[int, str]


@dataclass(frozen=True)
class Shape:
    """Of the array: rows, width, and a dtype's name such as float32."""

    rows: int
    width: int
    dtype: str

    @property
    def row_bytes(self) -> int:
        return self.width * np.dtype(self.dtype).itemsize


@dataclass
class Growing:
    """The array on its way. target: the file it is for; identity: all that decides its values."""

    target: Path
    identity: str
    shape: Shape
    part: int = PART
    bad: dict[int, str] = field(default_factory=dict)

    @property
    def rows(self) -> Path:
        """The array's file; complete once `fill` has returned."""
        return self.target.with_name(f".{self.target.name}.rows")

    @property
    def journal(self) -> Path:
        return self.target.with_name(f".{self.target.name}.journal")

    def array(self, private: bool = False) -> Values:
        """The whole array, memory-mapped; private: what is written to it stays in memory."""
        return np.load(self.rows, mmap_mode="c" if private else "r")  # type: ignore[no-any-return]

    def fill(self, make: Callable[[int, int], Part], report: Callable[[int, int], None]) -> None:
        """Makes the array complete; make(first, last) computes rows [first, last).

        report(done, rows) is called after every part. Raises Fault on a full disk, and what `make` raises.
        """
        with files.explained(self.target):
            self.target.parent.mkdir(parents=True, exist_ok=True)
            done = self._resumed()
            with self.rows.open("r+b") as into, self.journal.open("a", encoding="utf-8") as journal:
                into.seek(self._offset + done * self.shape.row_bytes)
                for first in range(done, self.shape.rows, self.part):
                    last = min(first + self.part, self.shape.rows)
                    self._append(make(first, last), into, journal)
                    report(last, self.shape.rows)

    def _append(self, made: Part, into: Any, journal: Any) -> None:
        body = np.ascontiguousarray(made.values, dtype=self.shape.dtype).tobytes()
        into.write(body)
        _flushed(into)
        self.bad |= made.bad
        line = {"rows": len(made.values), "sha256": hashlib.sha256(body).hexdigest(), "bad": made.bad}
        journal.write(json.dumps(line) + "\n")
        _flushed(journal)

    def forget(self) -> None:
        """Removes both files."""
        for path in (self.rows, self.journal):
            path.unlink(missing_ok=True)

    @property
    def _head(self) -> str:
        return json.dumps([self.identity, *vars(self.shape).values(), self.part])

    @property
    def _offset(self) -> int:
        with self.rows.open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            return file.tell()

    def _resumed(self) -> int:
        """How many rows are there already; both files are cut to them, or begun."""
        lines = _lines(self.journal)
        if not lines or lines[0] != self._head or not self.rows.exists():
            return self._begun()
        done, kept = 0, [lines[0]]
        try:
            offset = self._offset
        except ValueError:
            return self._begun()
        with self.rows.open("r+b") as file:
            file.seek(offset)
            for line in lines[1:]:
                if (found := _whole(line, file, self.shape.row_bytes)) is None:
                    break
                done += found["rows"]
                kept.append(line)
                self.bad |= {int(i): said for i, said in found["bad"].items()}
            file.truncate(offset + done * self.shape.row_bytes)
        files.write_text(self.journal, "\n".join(kept) + "\n")
        return done

    def _begun(self) -> int:
        self.bad = {}
        with self.rows.open("wb") as file:
            dtype = np.lib.format.dtype_to_descr(np.dtype(self.shape.dtype))
            shape = (self.shape.rows, self.shape.width)
            header = {"descr": dtype, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
        files.write_text(self.journal, self._head + "\n")
        return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []


def _whole(line: str, file: Any, row_bytes: int) -> dict[str, Any] | None:
    """What a line of the journal says, if the bytes that follow in the file are as it says."""
    try:
        found: dict[str, Any] = json.loads(line)
        body = file.read(found["rows"] * row_bytes)
        return found if hashlib.sha256(body).hexdigest() == found["sha256"] else None
    except (ValueError, KeyError, TypeError):  # a line that was cut
        return None


def _flushed(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def finite(values: Values) -> int:
    """The first row that holds NaN or infinity, -1 where none does."""
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    return int(broken[0]) if len(broken) else -1


def parts(rows: int, part: int = PART) -> list[slice]:
    """Consecutive parts of that many rows."""
    return [slice(i * part, min((i + 1) * part, rows)) for i in range(math.ceil(rows / part))]
