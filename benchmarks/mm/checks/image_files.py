"""Image files, looked at before a training of hours: is each there and whole, and how large is it."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from pretrain.base.faults import Fault, printable
from pretrain.data.image import on_its_side

# Last bytes of a whole file. Padding may follow a JPEG; anything else there makes the file be decoded to be
# sure.
ENDINGS = (b"\xff\xd9", b"IEND\xaeB`\x82")
TAIL = 64
# What Pillow raises on damaged files, of this format or that.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
)
NAMED = 3  # files that a message names
LARGEST = 89_478_485  # pixels: what Pillow decodes without a warning, 268 MB as RGB


def sizes(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """(width, height) in pixels of each image, upright as EXIF says: so mm reads it, too.

    Only header and end are read, about 0.1 ms a file; a file that does not end as its format must is decoded.

    Raises:
        Fault: data-missing or data-corrupt, with how many files are absent, or are cut short or no images.
    """
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        found = list(pool.map(_size, paths))
    absent = [path for path, size in zip(paths, found, strict=True) if size == "absent"]
    huge = [path for path, size in zip(paths, found, strict=True) if size == "huge"]
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
    if huge:
        raise Fault(
            "data-corrupt",
            f"{len(huge)} of {len(paths)} images have more than {LARGEST} pixels: {named(huge)}; make them smaller",
        )
    return [size for size in found if not isinstance(size, str)]


def _size(path: Path) -> tuple[int, int] | str:
    try:
        with path.open("rb") as file:
            file.seek(-min(TAIL, file.seek(0, os.SEEK_END)), os.SEEK_END)
            whole = file.read().rstrip(b"\0").endswith(ENDINGS)
        with Image.open(path) as image:
            if image.width * image.height > LARGEST:
                return "huge"
            if not whole:
                image.load()
            return image.size[::-1] if on_its_side(image) else image.size
    except FileNotFoundError:
        return "absent"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return "huge"
    except BROKEN:
        return "broken"


def named(paths: Iterable[Path]) -> str:
    """The first few paths, and dots for the others."""
    paths = list(paths)
    return ", ".join(map(str, paths[:NAMED])) + (", ..." if len(paths) > NAMED else "")


def listed(path: Path) -> list[str]:
    """The names in a list file, one on each line.

    Raises Fault where it is absent, no text, empty, or has a line that is blank, repeated or no name.
    """
    if not path.is_file():
        raise Fault(
            "data-missing", f"{path} is not there; it must name one image on each line, without its ending"
        )
    try:
        names = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise Fault("data-corrupt", f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Fault(
            "data-corrupt", f"{path} is not UTF-8 text: {error.reason} at byte {error.start}"
        ) from None
    if not names:
        raise Fault(
            "data-corrupt", f"{path} is empty; it must name one image on each line, without its ending"
        )
    first = dict[str, int]()
    for number, name in enumerate(map(str.strip, names), start=1):
        if not name:
            raise Fault("data-corrupt", f"{path}:{number} is blank; remove the line")
        if not inside(name):
            said = f"'{printable(name, 60)}' is no name of an image below its folder"
            raise Fault("data-corrupt", f"{path}:{number}: {said}; correct the line")
        if first.setdefault(name, number) != number:
            raise Fault(
                "data-corrupt", f"{path}:{number} names {name} again, after line {first[name]}; remove it"
            )
    return list(first)


def inside(name: Any) -> bool:
    """Whether a name is that of a file below a folder: relative, without steps up, printable."""
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 1000:
        return False
    pure = PurePosixPath(name)
    return not pure.is_absolute() and ".." not in pure.parts


def expect(found: int, counts: int, where: str) -> None:
    """Raises Fault unless `found` images are as many as the data set has; 0 expects nothing."""
    if counts and found != counts:
        raise Fault(
            "data-missing", f"{where} lists {found} images, expected {counts}; complete it or change counts"
        )
