"""torchvision and timm: bare dicts under the names that this zoo has, too.

timm's networks of other stems and blocks have other shapes and are refused. Those that pool otherwise have
the shapes of these, and are told with --arch alone.
"""

from __future__ import annotations

from pretrain.nets.formats.contract import Layout

LAYOUTS = (
    Layout(name="torchvision", title="torchvision or timm", signs=(r"(fc|classifier\.\d)\.",)),
    Layout(
        name="timm-training",
        title="timm's training script",
        within=("state_dict_ema", "state_dict"),
        outer=("epoch", "version", "state_dict"),
    ),
)
