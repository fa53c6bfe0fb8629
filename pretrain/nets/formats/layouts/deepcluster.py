"""DeepCluster (github.com/facebookresearch/deepcluster): AlexNet and VGG-16 behind a Sobel front-end.

Its dict of training has epoch, arch, state_dict and optimizer; nn.DataParallel stands around the
convolutions alone.
"""

from __future__ import annotations

from pretrain.nets.formats.contract import Layout
from pretrain.nets.formats.naming import FEATURES, PARALLEL_FEATURES

LAYOUTS = (
    Layout(
        name="deepcluster",
        title="DeepCluster",
        within=("state_dict", ""),
        signs=(r"sobel\.", r"(top_layer|classifier)\."),
        names=(PARALLEL_FEATURES, FEATURES),
    ),
)
