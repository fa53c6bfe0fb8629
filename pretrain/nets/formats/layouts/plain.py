"""A backbone under names that are known, behind whatever prefix, in whatever dict."""

from __future__ import annotations

from pretrain.nets.formats.contract import ANY, Layout
from pretrain.nets.formats.naming import (
    FEATURES,
    SEQUENTIAL,
    SHORT_SEQUENTIAL,
    SHORTCUT,
    TORCHVISION,
    UNPOOLED,
)

LAYOUTS = (
    Layout(
        name="plain",
        title="a backbone's tensors",
        within=(ANY,),
        names=(TORCHVISION, FEATURES, SEQUENTIAL, UNPOOLED, SHORT_SEQUENTIAL, SHORTCUT),
    ),
)
