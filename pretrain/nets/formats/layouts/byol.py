"""Files of BYOL and of its kind, with an online network and its moving average; the online one is
evaluated.
"""

from __future__ import annotations

from pretrain.nets.formats.contract import Layout
from pretrain.nets.formats.naming import SEQUENTIAL, TORCHVISION

ONLINE = ("online_network_state_dict", "online_network", "online_net", "online")
LAYOUTS = (
    Layout(
        name="byol-online",
        title="BYOL, a dict for each network",
        within=ONLINE,
        roots=("encoder.", "backbone.", "net.", ""),
        signs=(r".",),
        names=(TORCHVISION, SEQUENTIAL),
    ),
    Layout(
        name="byol",
        title="BYOL",
        within=("state_dict", "model", ""),
        roots=(
            "online_encoder.net.",
            "online_encoder.",
            "online_network.encoder.",
            "online_network.",
            "online_net.0.",
            "net.",
        ),
        signs=(r"(target_encoder|target_network|target_net)\.",),
        names=(TORCHVISION, SEQUENTIAL),
    ),
)
