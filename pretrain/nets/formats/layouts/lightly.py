"""lightly (github.com/lightly-ai/lightly): Lightning's dict; backbones are often a Sequential without
names.
"""

from __future__ import annotations

from pretrain.nets.formats.contract import Layout
from pretrain.nets.formats.naming import SEQUENTIAL, SHORT_SEQUENTIAL, SHORTCUT, TORCHVISION, UNPOOLED

LAYOUTS = (
    Layout(
        name="lightly",
        title="lightly",
        within=("state_dict", ""),
        roots=("backbone.",),
        signs=(r"(projection_head|prediction_head|student_projection_head)\.",),
        names=(TORCHVISION, SEQUENTIAL, UNPOOLED, SHORT_SEQUENTIAL, SHORTCUT),
    ),
)
