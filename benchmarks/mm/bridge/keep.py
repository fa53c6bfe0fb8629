"""What of a detector or segmentation network is kept beside its record on request; no number depends on it.

ZOO_KEEP is a list of words with commas: `predictions` (COCO's JSON, or label maps as PNG) and `weights` (the
trained network). A setting of the protocol would enter the key, and ask for the same numbers again.
"""

from __future__ import annotations

import os

from pretrain.base.faults import unknown

VARIABLE, FOLDER = "ZOO_KEEP", "kept"
WORDS = ("predictions", "weights")


def asked() -> frozenset[str]:
    """The words of ZOO_KEEP. Raises Fault naming the nearest where one is unknown."""
    words = [word.strip() for word in os.environ.get(VARIABLE, "").split(",") if word.strip()]
    for word in words:
        if word not in WORDS:
            raise unknown("word", word, WORDS, VARIABLE)
    return frozenset(words)
