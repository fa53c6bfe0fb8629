"""The records of a home as commands read them: a line to stderr for each that cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

from pretrain.base.faults import LONGEST, printable
from reports.damaged import WORD, Damaged, damaged
from reports.records import Kept, found


def kept(home: Path) -> tuple[Kept, list[Damaged]]:
    """The readable records of a home, and the others, which are said."""
    records = found(home)
    others = damaged(home, records)
    for one in others:
        print(printable(f"{WORD}: {one.path}: {one.why}", LONGEST), file=sys.stderr)
    return records, others
