"""What differs between two identities, setting by setting."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Change(NamedTuple):
    """A value that differs, by its path."""

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.path}: {brief(self.old)} -> {brief(self.new)}"


def changes(old: Any, new: Any, at: str = "") -> list[Change]:
    """Every value that differs between JSON values, by dotted path."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [change for k in keys for change in changes(old.get(k), new.get(k), f"{at}.{k}".lstrip("."))]
    if (
        isinstance(old, list)
        and isinstance(new, list)
        and len(old) == len(new)
        and any(isinstance(o, dict) for o in old)
    ):
        return [c for i, (a, b) in enumerate(zip(old, new, strict=True)) for c in changes(a, b, f"{at}.{i}")]
    return [] if old == new else [Change(at, old, new)]


def brief(value: Any) -> str:
    """JSON of a value, cut after 40 characters."""
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
