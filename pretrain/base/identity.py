"""One hash of one canonical JSON: what names a model's folder, a record, a cache and a data set.

Identity is content. Two values are the same if their JSON is, whatever they are called and wherever they lie.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

LENGTH = 16  # hex digits, 64 bits: a million keys collide with a chance of 1 in 37 million


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value, `LENGTH` hex
    digits. Raises ValueError on NaN and infinity.
    """
    return shortened(hashlib.sha256(canonical(value).encode()))


def canonical(value: Any) -> str:
    """JSON with sorted keys and no blanks: one text for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def shortened(full: Any) -> str:
    """The first digits of a hash object of hashlib, for what is too large to be one JSON text."""
    return str(full.hexdigest())[:LENGTH]
