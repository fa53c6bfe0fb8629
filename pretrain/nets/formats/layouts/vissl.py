"""VISSL (github.com/facebookresearch/vissl): classy_state_dict.base_model.model.trunk, or a converted
trunk.
"""

from __future__ import annotations

from pretrain.nets.formats.contract import Layout

LAYOUTS = (
    Layout(
        name="vissl",
        title="VISSL",
        within=("trunk", "model_state_dict", "state_dict", ""),
        roots=("_feature_blocks.", "base_model._feature_blocks.", "trunk._feature_blocks."),
        signs=(r"((base_model|trunk)\.)?_feature_blocks\.",),
    ),
)
