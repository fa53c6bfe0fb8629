"""Suites of the user's own, from a TOML file: `variant`,
`images`, `[data]`, and a table of settings per name.
"""

from __future__ import annotations

import math
import tomllib
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from pretrain.base import files
from pretrain.base.faults import Fault, printable, unknown
from pretrain.base.settings import build, parsed
from pretrain.data import dataset
from zoo.suites.suite import FLOORS, Suite

LARGEST = 1 << 20  # bytes of a suite file
DEPTH = 20  # tables within tables
TEXT = 4096  # characters of a text: a path
NUMBER = 1e18
Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Head:
    """The keys of a suite file that are no settings of a model or benchmark."""

    variant: Literal["paper", "photos", "cifar", "demo", "smoke"] = "paper"
    images: Text = "imagenet/train"
    protocols: list[str] | None = None
    beside: list[str] = Field(default_factory=lambda: list(FLOORS))
    data: dict[str, Text] = Field(default_factory=dict)
    exclude: Text | None = None


def read(path: Path) -> Suite:
    """The suite of a file. Raises Fault on a file that is absent
    or no TOML, an unknown key, a value of another type.
    """
    text = _toml(path)
    _checked(text, path)
    keys = set(Head.__dataclass_fields__)
    tables = {key: value for key, value in text.items() if isinstance(value, dict) and key not in keys}
    for key in text:
        if key not in keys and key not in tables:
            raise unknown("key", key, [*sorted(keys - {"data"}), "[data]"], str(path))
    head = build(Head, {key: value for key, value in text.items() if key in keys}, str(path))
    here = path.parent
    for name in head.data:
        if name not in dataset.names():
            raise unknown("data set", name, dataset.names(), f"{path} [data]")
    is_split = head.images.count("/") == 1 and head.images.partition("/")[0] in head.data
    return Suite(
        name=path.stem,
        variant=head.variant,
        root=here,
        data={name: _place(here, folder) for name, folder in head.data.items()},
        images=head.images if is_split else "imagenet/train",
        image_folder=None if is_split or "images" not in text else _place(here, head.images),
        overrides={name: flat(table) for name, table in tables.items()},
        protocols=None if head.protocols is None else tuple(head.protocols),
        beside=tuple(head.beside),
        exclude=None if head.exclude is None else _place(here, head.exclude),
    )


def _place(here: Path, text: str) -> Path:
    """A path as a suite file says it: absolute, below the home folder as `~/x`, or beside the file."""
    return here / (files.homely(text, "write the whole path") if text.startswith("~/") else text)


def _toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise Fault("bad-config", f"suite file {path} is larger than {LARGEST} bytes")
        return tomllib.loads(text.decode())
    except FileNotFoundError:
        raise Fault("bad-config", f"suite file {path} is not there") from None
    except OSError as error:
        raise Fault("bad-config", f"suite file {path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # also of numbers with thousands of digits, and of text that is not UTF-8
        raise Fault("bad-config", f"{printable(str(path))} is not valid TOML: {error}") from None
    except RecursionError:
        raise Fault("bad-config", f"{path} is nested too deeply") from None


def _checked(value: Any, path: Path, at: str = "", depth: int = 0) -> None:
    """Raises Fault on what no suite holds: dates, unprintable text, numbers not finite, deep nesting."""
    if depth > DEPTH:
        raise Fault("bad-config", f"{path}: {printable(at, 60)} is nested too deeply")
    if isinstance(value, dict):
        for key, one in value.items():
            _checked(key, path, at or "a key", depth + 1)
            _checked(one, path, f"{at}.{key}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for i, one in enumerate(value):
            _checked(one, path, f"{at}.{i}", depth + 1)
    elif isinstance(value, str) and not (len(value) <= TEXT and value.isprintable()):
        said = f"expected printable text of {TEXT} characters or fewer, got '{printable(value, 40)}'"
        raise Fault("bad-config", f"{path}: {printable(at, 60)}: {said}")
    elif isinstance(value, (int, float)) and not (abs(value) < NUMBER and math.isfinite(value)):
        raise Fault("bad-config", f"{path}: {printable(at, 60)}: expected a finite number below {NUMBER:g}")
    elif not isinstance(value, (str, int, float)):  # TOML has dates and times, settings have none
        got = "time" if isinstance(value, time) else "date"
        said = f"{printable(at, 60)}: expected a text, got a {got}; put it in quotes"
        raise Fault("bad-config", f"{path}: {said}")


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted paths; lists stay as they are."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def from_command_line(pairs: list[str]) -> dict[str, dict[str, Any]]:
    """['odc.lr=0.1', ...] by model or benchmark. Raises Fault on a pair without a name or a value."""
    found: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        name, dot, path = key.partition(".")
        if not (equals and dot and path):
            raise Fault(
                "bad-config", f"--set expects NAME.FIELD=VALUE, for instance odc.epochs=10, got '{pair}'"
            )
        found.setdefault(name, {})[path] = parsed(value)
    return found
