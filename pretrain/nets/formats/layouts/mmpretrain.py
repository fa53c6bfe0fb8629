"""MMPretrain and MMClassification (github.com/open-mmlab/mmpretrain)."""

from __future__ import annotations

from pretrain.nets.formats.contract import Layout

LAYOUTS = (
    Layout(
        name="mmpretrain",
        title="MMPretrain",
        outer=("meta",),
        within=("state_dict",),
        roots=("backbone.",),
        signs=(r"head\.(fc|loss_module|layers)\.",),
    ),
    Layout(
        name="openmmlab",
        title="a model of MMDetection, MMSegmentation or another OpenMMLab package",
        outer=("meta",),
        within=("state_dict",),
        roots=("backbone.", ""),
    ),
)
