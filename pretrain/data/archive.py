"""Data sets that come as a few large files: decoded once into PNGs beside them, and read as folders from then
on.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.base.lease import lease
from pretrain.data.split import require

Pictures = Iterable[tuple[npt.NDArray[np.uint8], str]]  # pixels (H, W, 3), class; '' where there is none
Official = TypeVar("Official")


def decoded(root: Path, part: str, source: Path, layout: str, pictures: Callable[[], Pictures]) -> Path:
    """The folder `<root>/png/<part>` with `<class>/<index>.png`; where it is not there, `pictures` fill it.

    source: the official files, which must be there then; the index is an image's place in them. The folder is
    absent or complete. Raises Fault: data-missing with the layout, bad-config or disk-full where it cannot be
    written, and what `pictures` raises.
    """
    folder = root / "png" / part
    if folder.is_dir():
        return folder
    require(source, layout)
    if not os.access(root, os.W_OK):
        said = "its images are decoded into png/ once; copy the data set to a folder that can be written"
        raise Fault("bad-config", f"{root} cannot be written, but {said}")
    with lease(root / "png" / f".{part}.lock"), files.explained(folder):
        if not folder.is_dir():  # unless another process was faster
            _write(folder, pictures())
    return folder


def _write(folder: Path, pictures: Pictures) -> None:
    aside = folder.with_name(f".{folder.name}.part")
    if aside.exists():  # what a process left that was killed
        shutil.rmtree(aside)
    for i, (pixels, label) in enumerate(pictures):
        place = aside / label
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i:05d}.png")
    aside.rename(folder)


def official(source: Path, read: Callable[[], Official]) -> Official:
    """What `read` makes of the official files. Raises Fault (data-corrupt) where they are not as
    published.
    """
    try:
        return read()
    except (RuntimeError, OSError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        said = "incomplete, or not as published (their MD5 sums are compared)"
        raise Fault("data-corrupt", f"the files in {source} are {said}: {error}; fetch them again") from None
