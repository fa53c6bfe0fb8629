"""Published recipes of methods that are no clustering ones, typed by hand as those of tests/published.py.

Paths are those of open-mmlab/OpenSelfSup (1db69ec), open-mmlab/mmselfsup (v0.8.0), google-deepmind's
deepmind-research (byol/), facebookresearch/moco and facebookresearch/dino. Where reference and recipe differ
on purpose, the comment says so.
"""

from __future__ import annotations

from tests.published import INPUT, OURS, SGD, VIEW, Fields, in_bf16

LARS: Fields = {"momentum": 0.9, "optimizer": "lars"}


def cosine(start: float = 0.0, final: float = 0.0) -> Fields:
    """Ten epochs of warm-up."""
    return {"kind": "cosine", "warmup": 10, "start": start, "final": final}


# SimCLR, arXiv 2002.05709: sections 2.2 (batch 4096, 0.3 B / 256, decay 1e-6, LARS, ten epochs of warm-up,
# cosine) and 4.2 (2048 hidden, 128), appendix A (crops, colour at strength 1, blur), B.7 (T 0.1). Its images
# are not normalised: ours are.
SIMCLR: Fields = {
    **OURS, **LARS, "arch": "resnet50", "input": INPUT,
    "views": [
        VIEW | {"count": 2, "jitter": [0.8, 0.8, 0.8, 0.2], "jitter_p": 0.8, "gray": 0.2, "blur": 0.5}
    ],
    "epochs": 1000, "schedule": cosine(), "batch_size": 4096, "tail": "drop", "lr": 4.8, "weight_decay": 1e-6,
    "precision": "fp32", "bn_group": 0, "dim": 128, "hidden": 2048, "temperature": 0.1,
}  # fmt: skip
SIMCLR_TABLE: dict[str, Fields] = {
    "rn50_in1k_simclr_1000ep_2x224": SIMCLR,
    "rn50_in1k_simclr_100ep_2x224": SIMCLR | {"epochs": 100},
    "rn50_in1k_simclr_800ep_2x224": SIMCLR | {"epochs": 800},
    # OpenSelfSup, configs/selfsup/simclr/r50_bs256_ep200.py. Its cosine moves once an epoch and begins with
    # the warm-up, ours begins after it.
    "simclr_resnet50_8xb32-coslr-200e_in1k": {
        **SIMCLR, "config": "resnet50_8xb32-coslr-200e", "epochs": 200, "batch_size": 256, "tail": "pad",
        "lr": 0.3, "schedule": cosine(start=0.0001),
    },
}  # fmt: skip

# OpenSelfSup, configs/selfsup/moco/r50_v2.py; moco's README.md: main_moco.py --mlp --moco-t 0.2 --aug-plus
# --cos, batch 256 on 8 GPUs, whose batch norms are their own; the rate of an epoch e = 0, 1, ... of E is
# (1 + cos(pi e / E)) / 2.
MOCO: Fields = {
    **OURS, **SGD, "arch": "resnet50", "input": INPUT,
    "views": [
        VIEW | {
            "count": 2, "scale": [0.2, 1.0], "jitter": [0.4, 0.4, 0.4, 0.1], "jitter_p": 0.8, "gray": 0.2,
            "blur": 0.5,
        }
    ],
    "epochs": 200, "schedule": {"kind": "epoch-cosine", "first": 0}, "batch_size": 256, "tail": "drop",
    "lr": 0.03, "weight_decay": 1e-4, "precision": "fp32", "bn_group": 32,
    "dim": 128, "hidden": 2048, "temperature": 0.2, "queue": 65_536, "teacher_momentum": 0.999,
    "head_bn": False,
}  # fmt: skip
MOCO_TABLE: dict[str, Fields] = {
    "rn50_in1k_mocov2_200ep": MOCO,
    "rn50_in1k_mocov2_800ep": MOCO | {"epochs": 800},
}

# byol/configs/byol.py: presets of 1000 and of 300 epochs; arXiv 2006.07733, appendix B (views) and section
# 3.3 (batch 4096, rates times B / 256, ten epochs of warm-up, 4096 hidden, 256).
BYOL_VIEW: Fields = VIEW | {"jitter": [0.4, 0.4, 0.2, 0.1], "jitter_p": 0.8, "gray": 0.2}
BYOL_PAIR = [BYOL_VIEW | {"blur": 1.0}, BYOL_VIEW | {"blur": 0.1, "solarize": 0.2}]
BYOL: Fields = {
    **OURS, **LARS, "arch": "resnet50", "input": INPUT, "views": BYOL_PAIR,
    "epochs": 1000, "schedule": cosine(), "batch_size": 4096, "tail": "drop", "lr": 3.2,
    "weight_decay": 1.5e-6, "precision": "fp32", "bn_group": 0,
    "dim": 256, "hidden": 4096, "teacher_momentum": 0.996,
}  # fmt: skip
BYOL_300 = BYOL | {"epochs": 300, "lr": 4.8, "weight_decay": 1e-6, "teacher_momentum": 0.99}
BYOL_TABLE: dict[str, Fields] = {
    "rn50_in1k_byol_1000ep_2x224": BYOL,
    "rn50_in1k_byol_300ep_2x224": BYOL_300,
    # MMSelfSup, configs/selfsup/byol/byol_resnet50_8xb32-accum16-coslr-200e_in1k.py and its bases: 16 batches
    # of 256, each with statistics of its own, a step. Its cosine moves once an epoch and begins with the
    # warm-up, ours begins after it.
    "byol_resnet50_8xb32-accum16-coslr-200e_in1k": {
        **BYOL_300, "config": "resnet50_8xb32-accum16-coslr-200e", "epochs": 200,
        "schedule": cosine(start=0.0001), "bn_group": 256,
    },
}  # fmt: skip

# facebookresearch/dino 7c446df, README.md, "ResNet-50 and other convnets": sgd, rate 0.03 for 256 images,
# decay 1e-4, crops of 0.14 to 1 and of 0.05 to 0.14; main_dino.py:41-129 are its other defaults: 64 images on
# each of 8 GPUs, rates of :238-243 (10 epochs of warm-up, 1e-6 at the end), clipped at 3, the last layer held
# for an epoch; :197-198 synchronised batch norms, :419-465 the views; vision_transformer.py:257-291 the head.
# fp16 there, bf16 here; its crops are resized bicubically, ours bilinearly.
DINO_VIEW: Fields = VIEW | {
    "scale": [0.14, 1.0], "jitter": [0.4, 0.4, 0.2, 0.1], "jitter_p": 0.8, "gray": 0.2,
}  # fmt: skip
DINO: Fields = {
    **OURS, **SGD, "arch": "resnet50", "input": INPUT,
    "views": [
        DINO_VIEW | {"blur": 1.0},
        DINO_VIEW | {"blur": 0.1, "solarize": 0.2},
        DINO_VIEW | {"size": 96, "count": 8, "scale": [0.05, 0.14], "blur": 0.5},
    ],
    "epochs": 100, "schedule": cosine(final=1e-6 / 0.06), "batch_size": 512, "tail": "drop", "lr": 0.06,
    "weight_decay": 1e-4, "precision": "bf16", "bn_group": 0,
    "prototypes": 65_536, "dim": 256, "hidden": 2048, "head_bn": False, "temperature": 0.1,
    "teacher_temperature": 0.04, "first_temperature": 0.04, "temperature_epochs": 0, "teacher_views": 2,
    "teacher_momentum": 0.996, "centre_momentum": 0.9, "sinkhorn_iterations": 0, "clip": 3.0,
    "freeze_epochs": 1,
}  # fmt: skip
DINO_TABLE: dict[str, Fields] = {"rn50_in1k_dino_100ep_2x224_8x96": DINO}

BASELINES: dict[str, dict[str, Fields]] = {
    "byol": in_bf16(BYOL_TABLE),
    "dino": DINO_TABLE,
    "mocov2": in_bf16(MOCO_TABLE),
    "simclr": in_bf16(SIMCLR_TABLE),
}
