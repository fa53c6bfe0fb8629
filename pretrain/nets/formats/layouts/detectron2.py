"""Detectron2's pickles of arrays, and Detectron's of Caffe2 blobs.

Detectron's are the networks of MSRA: colours in the order BGR, values up to 255, no scaling, stride in the
1x1.
"""

from __future__ import annotations

from pretrain.nets.formats.contract import Defaults, Layout
from pretrain.nets.formats.naming import CAFFE2, DETECTRON2

SCALE = 1 / 255
MSRA = Defaults(
    mean=(102.9801 * SCALE, 115.9465 * SCALE, 122.7717 * SCALE),
    std=(SCALE, SCALE, SCALE),
    order="bgr",
    stride="1x1",
)
LAYOUTS = (
    Layout(
        name="detectron2",
        title="Detectron2",
        within=("model", "state_dict", ""),
        roots=("", "backbone.bottom_up.", "backbone."),
        signs=(r"(backbone\.(bottom_up\.)?)?stem\.conv1\.",),
        names=(DETECTRON2,),
    ),
    Layout(
        name="detectron",
        title="Detectron (Caffe2)",
        within=("blobs", "model", ""),
        signs=(r"res2_0_branch2a_w",),
        names=(CAFFE2,),
        defaults=MSRA,
        folded=True,
    ),
)
