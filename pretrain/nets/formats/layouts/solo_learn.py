"""solo-learn (github.com/vturrisi/solo-learn): Lightning's dict.

Its networks for CIFAR have no pooling and a 3x3 stem that pads by two pixels.
"""

from __future__ import annotations

from pretrain.nets.formats.contract import Defaults, Layout

LAYOUTS = (
    Layout(
        name="solo-learn",
        title="solo-learn",
        within=("state_dict",),
        roots=("backbone.", "encoder."),
        signs=(r"(projector|classifier|prototypes)\.",),
        outer=("pytorch-lightning_version",),
        small=Defaults(size=32, resize=32, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.243, 0.261)),
        twins={"resnet18_small": "resnet18_small_pad2", "resnet50_small": "resnet50_small_pad2"},
    ),
)
