"""Suites of the user's own, from a TOML file: `variant`,
`images`, `[data]`, and a table of settings per name.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from pretrain.base.faults import Fault, unknown
from pretrain.base.settings import build, parsed
from pretrain.data import dataset
from zoo.suites.suite import Suite


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Head:
    """The keys of a suite file that are no settings of a model or benchmark."""

    variant: Literal["paper", "demo", "smoke"] = "paper"
    images: str = "imagenet/train"
    protocols: list[str] | None = None
    beside: list[str] = Field(default_factory=lambda: ["random"])
    data: dict[str, str] = Field(default_factory=dict)


def read(path: Path) -> Suite:
    """The suite of a file. Raises Fault on a file that is absent
    or no TOML, an unknown key, a value of another type.
    """
    text = _toml(path)
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
        data={name: here / folder for name, folder in head.data.items()},
        images=head.images if is_split else "imagenet/train",
        image_folder=None if is_split or "images" not in text else here / head.images,
        overrides={name: flat(table) for name, table in tables.items()},
        protocols=None if head.protocols is None else tuple(head.protocols),
        beside=tuple(head.beside),
    )


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Fault("bad-config", f"suite file {path} is not there") from None
    except OSError as error:
        raise Fault("bad-config", f"suite file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Fault("bad-config", f"{path} is not valid TOML: {error}") from None
    except RecursionError:
        raise Fault("bad-config", f"{path} is nested too deeply") from None


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
