"""One image file as 8-bit RGB, upright: the same for every reader. No torch here.

Orientation: as EXIF says. Transparency: dropped, the colours below it stay. 16 bits a channel: to 8 by
1 / 257, so black stays black and white white; of colour Pillow hands out the upper byte, the same to within
one level. Whole numbers of 32 bits (`I`): as 16 bits. Floats (`F`): white is the least of 1, 255 and 65535
that no pixel exceeds. Values outside these ranges: the image's own least is black, its largest white.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pretrain.base.faults import Fault
from pretrain.data.split import Split

# What Pillow raises on damaged bytes, and on more pixels than it deems safe.
UNREADABLE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    struct.error,
    Image.DecompressionBombError,
)
ORIENTATION = 0x0112  # EXIF 2.32, 4.6.4: where row 0 and column 0 of the stored pixels belong
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
WHITES = {"I": (65535.0,), "F": (1.0, 255.0, 65535.0)}  # by the first letter of Pillow's mode


def read(split: Split, i: int) -> Image.Image:
    """The i-th image of a split, RGB. Raises Fault: data-missing or data-corrupt, naming split and file."""
    with _named(split, i) as opened:
        return rgb(opened)


def size(split: Split, i: int) -> tuple[int, int]:
    """(width, height) of the i-th image as stored, from its header. Raises Fault as `read` does."""
    with _named(split, i) as opened, Image.open(opened) as file:
        return file.size


@contextmanager
def _named(split: Split, i: int) -> Iterator[Path | BytesIO]:
    try:
        yield split.place(i).opened()
    except FileNotFoundError:
        raise Fault("data-missing", f"{split.name}: {split.called(i)} is listed but not there") from None
    except UNREADABLE as error:
        said = f"cannot be decoded ({error}); replace the file or take it off the list"
        raise Fault("data-corrupt", f"{split.name}: {split.called(i)} {said}") from None


def on_its_side(file: Image.Image) -> bool:
    """Whether the stored rows of an opened file are the columns of its image."""
    return _orientation(file) in (5, 6, 7, 8)


def rgb(path: Path | BytesIO) -> Image.Image:
    """The image of a file or of its bytes, 8-bit RGB, upright. Raises one of UNREADABLE."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # palette transparency, EXIF remarks: the pixels are what counts
        with Image.open(path) as file:
            return upright(file)


def upright(file: Image.Image) -> Image.Image:
    """An opened image, 8-bit RGB, upright. Raises one of UNREADABLE."""
    file.load()  # a PNG's EXIF may follow its pixels; a TIFF turns itself here
    turn = TURNS.get(_orientation(file))
    image = Image.fromarray(_grey(file)) if file.mode[0] in WHITES else file
    image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(ORIENTATION)
    except UNREADABLE:  # damaged EXIF beside whole pixels
        return 1
    return found if isinstance(found, int) else 1


def _grey(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Pixels of more than 8 bits as uint8 (H, W), by the rules above."""
    x = np.asarray(image).astype(np.float64)
    black, largest = float(x.min()), float(x.max())
    if not np.isfinite((black, largest)).all():
        raise ValueError("it holds pixels that are no finite numbers")
    white = next((white for white in WHITES[image.mode[0]] if black >= 0 and largest <= white), None)
    if white is None:
        white = largest
    else:
        black = 0.0
    return np.rint((x - black) * 255 / ((white - black) or 1.0)).astype(np.uint8)
