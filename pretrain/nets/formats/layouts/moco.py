"""Momentum contrast and what was built on its code: MoCo v1 to v3, PixPro, SimSiam, PCL, CoKe, Barlow
Twins, VICReg.
"""

from __future__ import annotations

from pretrain.nets.formats.contract import Layout

LAYOUTS = (
    Layout(
        name="moco",
        title="MoCo v1 or v2",
        within=("state_dict", "model", ""),
        roots=("encoder_q.",),
        signs=(r"encoder_q\.",),
    ),
    Layout(
        name="pixpro",
        title="PixPro",
        within=("model", "state_dict", ""),
        roots=("encoder.",),
        signs=(r"encoder_k\.", r"projector_k\."),
    ),
    Layout(
        name="pycontrast",
        title="PyContrast: InfoMin, MoCo, PIRL, InstDisc",
        within=("model",),
        roots=("encoder.",),
        outer=("contrast", "model"),
    ),
    Layout(
        name="moco3",
        title="MoCo v3",
        within=("state_dict", ""),
        roots=("base_encoder.",),
        signs=(r"base_encoder\.",),
    ),
    Layout(
        name="simsiam",
        title="SimSiam",
        within=("state_dict", ""),
        roots=("encoder.",),
        signs=(r"encoder\.fc\.", r"predictor\."),
    ),
    Layout(
        name="coke",
        title="CoKe",
        within=("state_dict", ""),
        roots=("encoder.",),
        signs=(r"(pre_center|cur_center|assign_labels)",),
    ),
    Layout(
        name="barlow",
        title="Barlow Twins or VICReg",
        within=("model", ""),
        roots=("backbone.",),
        signs=(r"projector\.",),
    ),
    Layout(name="invp", title="Invariance Propagation", within=("state_dict",), outer=("memory_banks",)),
)
