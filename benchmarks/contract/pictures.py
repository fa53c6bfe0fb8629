"""Pictures beside a record: what a job has kept for people to look at, never part of a key or a number.

They lie in `pictures/` beside result.json, a JSON file per kind and JPEG files beside it, and are read
strictly, because whoever may write into the folder may have written them. No torch here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

FOLDER = "pictures"
LARGEST = 1 << 20  # bytes of one file
POINTS, CLASSES, CLUSTERS, DRAWINGS = 1000, 30, 30, 6  # at most, of a map, a table, a gallery, a record
COLUMNS = 12  # images of a cluster in a gallery

_RULES = ConfigDict(extra="forbid", allow_inf_nan=False)
Count = Annotated[int, Field(ge=0, le=10**9)]
Unit = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(max_length=200)]
File = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}\.jpg$")]


@dataclass(frozen=True, config=_RULES)
class Cluster:
    """A row of a gallery. purity: share of the most frequent class, `majority`; shown: images in the row, the
    first `nearest` of them those nearest to the centroid, the others random members.
    """

    size: Count
    purity: Unit
    majority: Name
    nearest: Annotated[int, Field(ge=0, le=COLUMNS)]
    shown: Annotated[int, Field(ge=0, le=COLUMNS)]


@dataclass(frozen=True, config=_RULES)
class Gallery:
    """Clusters, the purest first, as rows of a sheet of square images. side: of an image, in pixels; of: all
    clusters, shown or not; how: in words.
    """

    sheet: File
    side: Annotated[int, Field(ge=8, le=128)]
    of: Count
    how: Name
    clusters: Annotated[list[Cluster], Field(max_length=CLUSTERS)]


@dataclass(frozen=True, config=_RULES)
class Map:
    """Images as points of the plane, x and y in [0, 1]. label: index into `classes`; of: all images."""

    x: Annotated[list[Unit], Field(max_length=POINTS)]
    y: Annotated[list[Unit], Field(max_length=POINTS)]
    label: Annotated[list[Count], Field(max_length=POINTS)]
    classes: Annotated[list[Name], Field(max_length=POINTS)]
    of: Count
    how: Name

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not len(self.x) == len(self.y) == len(self.label):
            raise ValueError("x, y and label must be equally long")
        if any(label >= len(self.classes) for label in self.label):
            raise ValueError("a label has no class")
        return self


@dataclass(frozen=True, config=_RULES)
class Confusion:
    """counts: per true class (row) how often each of `classes` was answered; others: how often one that is
    not among them; of: all classes, shown or not.
    """

    classes: Annotated[list[Name], Field(max_length=CLASSES)]
    counts: list[list[Count]]
    others: list[Count]
    of: Count
    how: Name

    @model_validator(mode="after")
    def _square(self) -> Self:
        n = len(self.classes)
        if {len(self.counts), len(self.others), *map(len, self.counts)} - {n}:
            raise ValueError(f"counts must be {n} x {n} with {n} others")
        return self


@dataclass(frozen=True, config=_RULES)
class Drawing:
    """A test image with the truth on its left and the prediction on its right. words: what it shows."""

    file: File
    words: Annotated[str, Field(max_length=1000)]


@dataclass(frozen=True, config=_RULES)
class Drawn:
    """how: what is drawn, in words."""

    how: Name
    images: Annotated[list[Drawing], Field(max_length=DRAWINGS)]


Kind = Gallery | Map | Confusion | Drawn
KINDS: dict[str, TypeAdapter[Kind]] = {
    "gallery": TypeAdapter(Gallery),
    "map": TypeAdapter(Map),
    "confusion": TypeAdapter(Confusion),
    "drawn": TypeAdapter(Drawn),
}


def dump(picture: Kind) -> tuple[str, bytes]:
    """(file's name, JSON) of a picture."""
    name = type(picture).__name__.lower()
    return f"{name}.json", KINDS[name].dump_json(picture)


def load(folder: Path) -> dict[str, Kind]:
    """The pictures of a folder by kind; what is absent, too large or no picture is left out."""
    found = {name: content(folder / f"{name}.json") for name in KINDS}
    made = {name: _valid(name, text) for name, text in found.items() if text is not None}
    return {name: picture for name, picture in made.items() if picture is not None}


def _valid(name: str, text: bytes) -> Kind | None:
    try:
        return KINDS[name].validate_json(text)
    except (ValueError, RecursionError):
        return None


def jpeg(path: Path) -> bytes | None:
    """The bytes of a JPEG file; None where there is none or it is something else."""
    found = content(path)
    return found if found is not None and found.startswith(b"\xff\xd8\xff") else None


def content(path: Path) -> bytes | None:
    """The bytes of a regular file of at most LARGEST bytes, else None."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            found = file.read(LARGEST + 1)
    except OSError:
        return None
    return found if len(found) <= LARGEST else None
