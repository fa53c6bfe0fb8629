"""Numbers that others have published: reports/published/PROTOCOL.toml, typed by hand from the files that they
name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from pretrain.base.faults import Fault

FOLDER = Path(__file__).parents[1] / "published"


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Published:
    """A row of one source. model: its words; method and recipe: of the zoo, '' where it has none.

    epochs: None where it is not said; file, tag: where the number stands; selection: how it was chosen, where
    that is not said for the whole file; differs: why it cannot be compared with the protocol's numbers;
    choice: the layer or setting; values: by name of the protocol's score, with the digits as published.
    """

    model: str
    method: str = ""
    recipe: str = ""
    epochs: int | None = None
    file: str
    tag: str
    selection: str = ""
    differs: str = ""
    note: str = ""
    choice: str = ""
    values: dict[str, Decimal]

    @property
    def source(self) -> str:
        """File and tag."""
        return f"{self.file} @ {self.tag}"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Sources:
    """Every published row of a protocol. n: images of the split that is reported."""

    n: int
    selection: str
    rows: tuple[Published, ...]


@cache
def sources(protocol: str) -> Sources | None:
    """What has been published of a protocol, None where nothing has. Raises Fault on a damaged file."""
    path = FOLDER / f"{protocol}.toml"
    if not path.is_file():
        return None
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        return Sources(**body)
    except (OSError, ValueError, TypeError) as error:
        raise Fault("data-corrupt", f"{path} is no list of published numbers: {error}") from error


def agree(a: Decimal, b: Decimal) -> bool:
    """Whether two sources say the same number, one perhaps with fewer digits."""
    coarse = max(a, b, key=_exponent)
    fine = a if coarse is b else b
    unit = Decimal(1).scaleb(_exponent(coarse))
    return abs(coarse - fine) <= unit / 2


def _exponent(value: Decimal) -> int:
    return int(value.as_tuple().exponent)


def disagreeing(rows: Sequence[Published]) -> list[tuple[str, str]]:
    """(model, score) that rows of one recipe and training length give different numbers for."""
    found: dict[tuple[str, str, int | None, str], list[Decimal]] = {}
    for row in rows:
        for score, value in row.values.items():
            if not row.differs:
                found.setdefault((row.model, row.recipe, row.epochs, score), []).append(value)
    return [
        (model, score)
        for (model, _, _, score), values in found.items()
        if any(not agree(values[0], value) for value in values)
    ]
