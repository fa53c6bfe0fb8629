"""SwAV, DeepClusterV2 and SeLa-v2 (github.com/facebookresearch/swav): bare dicts of releases, dicts of
training.

The repository's red has a std of 0.228, where everyone else has 0.229.
"""

from __future__ import annotations

from pretrain.nets.formats.contract import Defaults, Layout

GIVEN = Defaults(std=(0.228, 0.224, 0.225))
LAYOUTS = (
    Layout(
        name="deepclusterv2",
        title="DeepClusterV2, SeLa-v2 or SwAV with several heads",
        within=("", "state_dict"),
        signs=(r"projection_head\.", r"prototypes\.prototypes\d+\.weight"),
        defaults=GIVEN,
    ),
    Layout(
        name="swav",
        title="SwAV",
        within=("", "state_dict"),
        signs=(r"projection_head\.", r"prototypes\.weight"),
        defaults=GIVEN,
    ),
)
