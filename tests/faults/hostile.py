"""What the tests of hostile and damaged files share: texts that do harm, a flipped bit, and what every
refusal must look like.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from pretrain.base.faults import Fault

DEEP = "[" * 200_000
LONG = "9" * 5000  # digits: more than Python turns into a number
EVIL = "a\x1b[31m\x07\r\u202eb\u2066c\ud800"  # colour, bell, return, bidirectional marks, half of a pair


def refused(raised: pytest.ExceptionInfo[Fault], reason: str, where: Path) -> str:
    """What a fault says, after the checks that hold for every one."""
    said = str(raised.value)
    assert raised.value.reason == reason
    assert where.name in said
    assert said.isprintable()
    assert len(said) < 1500
    return said


def flipped(path: Path) -> None:
    """Flips a bit in the middle of the largest tensor of what torch.save wrote."""
    with zipfile.ZipFile(path) as archive:
        member = max(archive.infolist(), key=lambda one: one.file_size)
        data = bytearray(path.read_bytes())
        content = archive.read(member)
    at = data.index(content) + len(content) // 2
    data[at] ^= 1
    path.write_bytes(data)
