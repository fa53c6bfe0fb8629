"""A number, with everything needed to read it: unit, split, sample size, spread, and how it was chosen."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

_RULES = ConfigDict(extra="forbid", allow_inf_nan=False)

Number = Annotated[float, Field(strict=True)]  # no text, no bool
Better = Literal["higher", "lower", ""]


@dataclass(frozen=True, config=_RULES)
class Spread:
    """Values of repeated draws, restarts or seeds, and their population standard deviation."""

    kind: str
    std: Number
    values: list[Number]

    @classmethod
    def of(cls, kind: str, values: list[float]) -> Self:
        """The spread of some values."""
        mean = sum(values) / len(values)
        return cls(kind, (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5, values)


@dataclass(frozen=True, config=_RULES)
class Selection:
    """Why this number and not another. of: what was chosen, such as "layer"; choice: the one that was;

    on: the split (or part of it) whose score chose; among: what every candidate scores where the number is
    reported.
    """

    of: str
    choice: str
    on: str
    among: dict[str, Number]


@dataclass(frozen=True, config=_RULES)
class Score:
    """One number. value: unrounded, percentages as 0-100; n: samples of `split` that it is computed over.

    selection: how it was chosen among several, None where nothing was; honest: the name of the score that was
    chosen without looking at `split`, where this one was chosen on it. Raises ValueError on a value that is
    not finite.
    """

    name: str
    value: Number
    n: int
    split: str
    unit: str = "%"
    better: Better = "higher"
    spread: Spread | None = None
    selection: Selection | None = None
    honest: str = ""
    note: str = ""

    @property
    def selected_on_its_split(self) -> bool:
        """Whether the split that is reported has also chosen what is reported."""
        return self.selection is not None and self.selection.on == self.split


def best(among: dict[str, float]) -> str:
    """The candidate with the highest value, the first of equals."""
    return max(among, key=among.__getitem__)
