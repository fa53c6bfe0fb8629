"""A handful of images on disk, for tests that need some: not the embedded scenes, which take seconds to
draw.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def folder(root: Path, per_class: int = 16, classes: int = 3, size: int = 16, seed: int = 0) -> Path:
    """train/ and val/ with one folder per class: noisy images whose mean colour depends on the class."""
    rng = np.random.default_rng(seed)
    for part in ("train", "val"):
        for label in range(classes):
            place = root / part / f"class{label}"
            place.mkdir(parents=True)
            for i in range(per_class):
                pixels = rng.normal(60 + 60 * label, 40, (size, size, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{i:03d}.png")
    return root
