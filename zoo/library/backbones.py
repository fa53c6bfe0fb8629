"""`zoo.load`: a backbone by name or file."""

from __future__ import annotations

from pathlib import Path

from pretrain.nets.backbone import Backbone
from zoo.clusters.model import opened, weights
from zoo.suites import builtin


def load(
    path_or_name: str | Path, home: str | Path | None = None, *, suite: str = "demo", seed: int = 0
) -> Backbone:
    """The backbone of a checkpoint of any known layout (a file, `https://...`, `hf://...`), or of a model by
    its name in a folder of results.

    It is fp32, in eval mode, on the CPU. `backbone(x)` gives features (B, dim) of images (B, 3, S, S),
    `backbone.stages(x)` its maps, and `backbone.transform` makes such an image of a Pillow image.

    home: folder of results, by default runs/<suite>; seed: of the pretraining.

    Raises:
        Fault: data-missing, weights-corrupt, weights-mismatch, bad-config: no such model or file, or none
            that can be read.
    """
    place = builtin.home(suite, None if home is None else Path(home))
    return opened(weights(path_or_name, place, seed, suite))[0]
