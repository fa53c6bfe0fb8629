"""OpenSelfSup and MMSelfSup (github.com/open-mmlab): full files of 0.x and 1.x, and extracted backbones.

A Sobel front-end stands at the top in 0.x and in the backbone in 1.x; extraction drops it.
"""

from __future__ import annotations

from pretrain.nets.formats.contract import Layout

LAYOUTS = (
    Layout(
        name="mmselfsup1",
        title="MMSelfSup 1.x",
        outer=("message_hub", "meta"),
        signs=(r"(neck|head|memory_bank|target_net|encoder_k|predictor)\.",),
        within=("state_dict",),
        roots=("backbone.", "encoder_q.0."),
    ),
    Layout(
        name="mmselfsup0",
        title="OpenSelfSup or MMSelfSup 0.x",
        outer=("meta",),
        signs=(r"(neck|head|memory_bank|target_net|encoder_k|online_net|predictor)\.",),
        within=("state_dict",),
        roots=("backbone.", "encoder_q.0.", "online_net.0."),
    ),
    Layout(
        name="openselfsup-extracted",
        title="a backbone that OpenSelfSup or MMSelfSup extracted",
        outer=("author", "state_dict"),
        within=("state_dict",),
    ),
)
