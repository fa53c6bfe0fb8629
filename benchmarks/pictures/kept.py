"""Where a running protocol leaves its pictures: in its work folder, from which the job takes them along."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks.contract.pictures import FOLDER, Kind, dump
from pretrain.base import files
from pretrain.base.faults import printable

QUALITY = 80  # of JPEG


@contextmanager
def kept(work: Path) -> Iterator[Path]:
    """The folder for pictures of a job that works in `work`.

    What goes wrong in the block is one line of the log: pictures are no reason to lose numbers.
    """
    try:
        yield work / FOLDER
    except Exception as error:
        said = printable(f"{type(error).__name__}: {error}", 300)
        print(f"pictures not kept: {said}", file=sys.stderr, flush=True)


def save(folder: Path, picture: Kind) -> None:
    """Writes what a picture says of itself; its images must be there already."""
    name, text = dump(picture)
    files.write(folder / name, lambda aside: aside.write_bytes(text))


def save_image(path: Path, image: Image.Image) -> None:
    """Writes an image as JPEG without any metadata."""
    encoded = io.BytesIO()
    Image.frombytes("RGB", image.size, image.convert("RGB").tobytes()).save(encoded, "JPEG", quality=QUALITY)
    files.write(path, partial(_bytes, encoded.getvalue()))


def _bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def take(work: Path, folder: Path, names: tuple[str, ...]) -> None:
    """Moves what a job has kept from its work folder to the folder of its record, in place of older ones."""
    with kept(work):
        for name in names:
            shutil.rmtree(folder / name, ignore_errors=True)
            if (work / name).is_dir():
                os.replace(work / name, folder / name)
