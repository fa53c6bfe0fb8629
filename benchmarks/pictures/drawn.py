"""Test images with the truth on their left and the prediction on their right: boxes, masks, label maps."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, GROWN = 320, 240, 4.0  # px of one side; a small image grows at most so much
LEAST, MOST = 0.3, 12  # score of a box that is drawn, and how many of the best
GAP = 4  # px between truth and prediction
TURN = 0.381966  # of the circle of hues between two classes: the golden angle keeps neighbours apart
TINT = 0.5  # how much of a pixel is its class's colour
FONT = ImageFont.load_default(11)
WORDS = 8  # classes that are named in a caption


@dataclass(frozen=True)
class Things:
    """Boxes (n, 4) as x1, y1, x2, y2 in pixels of the image, with labels (n,), and for a prediction scores
    (n,) and masks (n, H, W).
    """

    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64] | None = None
    masks: npt.NDArray[np.bool_] | None = None

    def best(self) -> Things:
        """The MOST things with the highest scores from LEAST on, the best first."""
        if self.scores is None:
            return self
        order = np.argsort(-self.scores, kind="stable")
        order = order[self.scores[order] >= LEAST][:MOST]
        masks = None if self.masks is None else self.masks[order]
        return Things(self.boxes[order], self.labels[order], self.scores[order], masks)


def colour(label: int) -> tuple[int, int, int]:
    """The colour of a class, RGB."""
    red, green, blue = colorsys.hsv_to_rgb(label * TURN % 1.0, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def detections(
    image: Image.Image, truth: Things, found: Things, classes: Sequence[str]
) -> tuple[Image.Image, str]:
    """An image with boxes on either side, and a caption of it."""
    shown = found.best()
    sides = [_with_boxes(image, one, classes) for one in (truth, shown)]
    count = int((found.scores >= LEAST).sum()) if found.scores is not None else len(found.boxes)
    most = f", of which the best {MOST} are drawn" if count > MOST else ""
    said = f"{count} found with a score of at least {LEAST}{most}: {_named(shown.labels, classes)}"
    words = f"truth: {_named(truth.labels, classes)}; {said}"
    return _beside(*sides), words


def label_maps(
    image: Image.Image,
    truth: npt.NDArray[np.int64],
    found: npt.NDArray[np.int64],
    ignored: int,
    background: int | None = None,
) -> tuple[Image.Image, str]:
    """An image under the label maps (H, W) on either side, and a caption of it. ignored: a label of pixels
    that do not count; background: one that is not coloured.
    """
    counts = truth != ignored
    right = (
        f"{100 * float((found == truth)[counts].mean()):.1f} % of its pixels right" if counts.any() else ""
    )
    sides = [_scaled(_tinted(image, x, (x != ignored) & (x != background))) for x in (truth, found)]
    return _beside(*sides), right or "no pixel of it counts"


def _named(labels: npt.NDArray[np.int64], classes: Sequence[str]) -> str:
    counts = Counter(classes[label] for label in labels).most_common(WORDS)
    return ", ".join(f"{n} {name}" if n > 1 else name for name, n in counts) or "nothing"


def _with_boxes(image: Image.Image, things: Things, classes: Sequence[str]) -> Image.Image:
    for mask, label in zip(things.masks if things.masks is not None else (), things.labels, strict=False):
        image = _tinted(image, np.full(mask.shape, label, dtype=np.int64), mask)
    made = _scaled(image)
    factor, pen = made.width / image.width, ImageDraw.Draw(made)
    for i, (box, label) in enumerate(zip(things.boxes, things.labels, strict=True)):
        left, top, right, bottom = (float(factor * edge) for edge in box)
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour(int(label)), width=2)
        score = "" if things.scores is None else f" {things.scores[i]:.2f}"
        _write(pen, (left + 2, top + 2), f"{classes[label]}{score}", colour(int(label)))
    return made


def _write(
    pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, ground: tuple[int, int, int]
) -> None:
    pen.rectangle(pen.textbbox(place, text, font=FONT), fill=ground)
    pen.text(place, text, fill=(0, 0, 0), font=FONT)


def _tinted(image: Image.Image, labels: npt.NDArray[np.int64], where: npt.NDArray[np.bool_]) -> Image.Image:
    """An image with the colours of labels (H, W) over it."""
    palette = np.array([colour(label) for label in range(int(labels.max(initial=0)) + 1)])
    pixels = np.asarray(image.convert("RGB")).astype(np.float64)
    mixed = (1 - TINT) * pixels + TINT * palette[labels]
    return Image.fromarray(np.where(where[..., None], mixed, pixels).round().astype(np.uint8))


def _scaled(image: Image.Image) -> Image.Image:
    factor = min(WIDTH / image.width, HEIGHT / image.height, GROWN)
    size = (max(1, round(factor * image.width)), max(1, round(factor * image.height)))
    return image.convert("RGB").resize(size, Image.Resampling.BICUBIC)


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (left.width + GAP + right.width, max(left.height, right.height)), (128, 128, 128))
    both.paste(left, (0, 0))
    both.paste(right, (left.width + GAP, 0))
    return both
