"""Image files, looked at before a training of hours: is each there and whole, and how large is it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from pretrain.base.faults import Fault

# Last bytes of a whole file. Padding may follow a JPEG; anything else there makes the file be decoded to be
# sure.
ENDINGS = (b"\xff\xd9", b"IEND\xaeB`\x82")
TAIL = 64
NAMED = 3  # files that a message names


def sizes(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """(width, height) in pixels of each image, as stored.

    Only header and end are read, about 0.1 ms a file; a file that does not end as its format must is decoded.

    Raises:
        Fault: data-missing or data-corrupt, with how many files are absent, or are cut short or no images.
    """
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        found = list(pool.map(_size, paths))
    absent = [path for path, size in zip(paths, found, strict=True) if size == "absent"]
    broken = [path for path, size in zip(paths, found, strict=True) if size == "broken"]
    if absent:
        raise Fault(
            "data-missing", f"{len(absent)} of {len(paths)} image files are not there: {named(absent)}"
        )
    if broken:
        raise Fault(
            "data-corrupt",
            f"{len(broken)} of {len(paths)} images are cut short or not images: {named(broken)}; fetch them again",
        )
    return [size for size in found if not isinstance(size, str)]


def _size(path: Path) -> tuple[int, int] | str:
    try:
        with path.open("rb") as file:
            file.seek(-min(TAIL, file.seek(0, os.SEEK_END)), os.SEEK_END)
            whole = file.read().rstrip(b"\0").endswith(ENDINGS)
        with Image.open(path) as image:
            if not whole:
                image.load()
            return image.size
    except FileNotFoundError:
        return "absent"
    except (OSError, SyntaxError, ValueError):
        return "broken"


def named(paths: Iterable[Path]) -> str:
    """The first few paths, and dots for the others."""
    paths = list(paths)
    return ", ".join(map(str, paths[:NAMED])) + (", ..." if len(paths) > NAMED else "")


def listed(path: Path) -> list[str]:
    """The names in a list file, one on each line. Raises Fault
    where it is absent, empty or has a blank line.
    """
    if not path.is_file():
        raise Fault(
            "data-missing", f"{path} is not there; it must name one image on each line, without its ending"
        )
    names = path.read_text(encoding="utf-8").splitlines()
    if not names:
        raise Fault(
            "data-corrupt", f"{path} is empty; it must name one image on each line, without its ending"
        )
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise Fault("data-corrupt", f"{path}:{number} is blank; remove the line")
    return [name.strip() for name in names]


def expect(found: int, counts: int, where: str) -> None:
    """Raises Fault unless `found` images are as many as the data set has; 0 expects nothing."""
    if counts and found != counts:
        raise Fault(
            "data-missing", f"{where} lists {found} images, expected {counts}; complete it or change counts"
        )
