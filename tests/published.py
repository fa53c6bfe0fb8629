"""Every published recipe as plain values, typed by hand from the scripts that trained the released models.

A comment names the script and the lines that a block was read from. Paths are those of facebookresearch/swav
(06b1b7c), open-mmlab/OpenSelfSup (1db69ec), facebookresearch/deepcluster (2d1927e), idstcv/CoKe (77228ae),
WangFeng18/InvariancePropagation (cad924e) and pytorch/vision. What
no script can say is our own: names, `config`, `version`, intervals of reports, `*_backend`, and options that
are off. Where reference and recipe differ on purpose, the comment says so.
"""

from __future__ import annotations

from typing import Any

Fields = dict[str, Any]

OURS: Fields = {
    "config": "", "version": 1, "log_every": 50, "check_every": 0, "adapts": [],
    "micro_batch": 0, "recompute": False,
}  # fmt: skip
SGD: Fields = {"momentum": 0.9, "optimizer": "sgd"}
INPUT: Fields = {
    "size": 224, "resize": 256, "sobel": False,
    "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
}  # fmt: skip
# RandomResizedCrop(224) and RandomHorizontalFlip() with torchvision's defaults.
VIEW: Fields = {
    "size": 224, "count": 1, "geometry": "random-resized", "scale": [0.08, 1.0], "resize": 256, "flip": 0.5,
    "rotate": 0.0, "jitter": [0.0, 0.0, 0.0, 0.0], "jitter_p": 1.0, "gray": 0.0, "mix": 0.0, "lighting": 0.0,
    "blur": 0.0, "blur_sigma": [0.1, 2.0],
}  # fmt: skip
CONSTANT: Fields = {"kind": "step", "milestones": [], "gamma": 0.1}


def in_bf16(table: dict[str, Fields]) -> dict[str, Fields]:
    """The table, and behind it its recipes in bf16: nobody published those, all else is as published."""
    mixed = {
        f"{name}_bf16": {
            **fields,
            "precision": "bf16",
            "config": fields["config"] and f"{fields['config']}_bf16",
        }
        for name, fields in table.items()
    }
    return table | mixed


# facebookresearch/swav ------------------------------------------------------------------------------------

# src/multicropdataset.py:38-39, 71, 90-92.
SWAV_INPUT: Fields = INPUT | {"std": [0.228, 0.224, 0.225]}
SWAV_VIEW: Fields = VIEW | {"jitter": [0.8, 0.8, 0.8, 0.2], "jitter_p": 0.8, "gray": 0.2, "blur": 0.5}


def crops(*given: tuple[int, int, float, float]) -> list[Fields]:
    """--nmb_crops, --size_crops, --min_scale_crops, --max_scale_crops of each size."""
    return [
        SWAV_VIEW | {"count": count, "size": size, "scale": [low, high]} for count, size, low, high in given
    ]


# Lines of every *_pretrain.sh with 64 GPUs of 64 images: batch, rates, decay, warm-up (0.3 of 4.8, 0.0048 of
# 4.8), --sync_bn apex in groups of 8 GPUs. main_swav.py and main_deepclusterv2.py have LARC, momentum 0.9,
# drop_last, hidden_mlp 2048 and syncbn_process_group_size 8: main_swav.py:107, 116, 145, 174, 177,
# main_deepclusterv2.py:100, 107, 137, 166, 169.
BATCH_4096: Fields = {
    **OURS, "arch": "resnet50", "input": SWAV_INPUT,
    "epochs": 400, "batch_size": 4096, "tail": "drop", "lr": 4.8, "momentum": 0.9, "weight_decay": 1e-6,
    "optimizer": "larc", "schedule": {"kind": "cosine", "warmup": 10, "start": 0.0625, "final": 0.001},
    "bn_group": 512, "dim": 128, "hidden": 2048, "temperature": 0.1,
}  # fmt: skip
# scripts/swav_400ep_pretrain.sh:28-50; queue_from is main_swav.py:71. --use_fp16 true (:49) is apex O1: ours
# is bf16.
SWAV: Fields = {
    **BATCH_4096, "views": crops((2, 224, 0.14, 1.0), (6, 96, 0.05, 0.14)), "precision": "bf16",
    "prototypes": 3000, "epsilon": 0.05, "sinkhorn_iterations": 3, "assign_views": 2, "freeze": 313,
    "queue": 0, "queue_from": 15,
}  # fmt: skip
# scripts/swav_200ep_bs256_pretrain.sh:38-50: 4 GPUs, a queue, no warm-up, --sync_bn pytorch: over all GPUs.
SWAV_256: Fields = {
    **SWAV, "batch_size": 256, "lr": 0.6,
    "schedule": {"kind": "cosine", "warmup": 0, "start": 0.0, "final": 0.001},
    "bn_group": 0, "freeze": 5005, "queue": 3840,
}  # fmt: skip
SWAV_TABLE: dict[str, Fields] = {
    "rn50_in1k_swav_400ep_2x224_6x96": SWAV,
    "rn50_in1k_swav_100ep_2x224_6x96": SWAV | {"epochs": 100},  # scripts/swav_100ep_pretrain.sh:39
    "rn50_in1k_swav_200ep_2x224_6x96": SWAV | {"epochs": 200},  # scripts/swav_200ep_pretrain.sh:39
    "rn50_in1k_swav_800ep_2x224_6x96": SWAV | {"epochs": 800},  # scripts/swav_800ep_pretrain.sh:39
    # scripts/swav_400ep_2x224_pretrain.sh:28-31
    "rn50_in1k_swav_400ep_2x224": SWAV | {"views": crops((2, 224, 0.08, 1.0))},
    "rn50_in1k_swav_200ep_bs256_2x224_6x96": SWAV_256 | {"epochs": 200},
    "rn50_in1k_swav_400ep_bs256_2x224_6x96": SWAV_256,  # scripts/swav_400ep_bs256_pretrain.sh:40
    # scripts/swav_RN50w2_400ep_pretrain.sh:29-32, 41, 49-50: 128 GPUs of 32 images, groups of 8
    "rn50w2_in1k_swav_400ep_2x224_4x96": {
        **SWAV,
        "version": 2,
        "arch": "resnet50w2",
        "views": crops((2, 224, 0.14, 1.0), (4, 96, 0.05, 0.14)),
        "hidden": 8192,
        "bn_group": 256,
    },
    # scripts/swav_RN50w4_400ep_pretrain.sh:29-32, 39-42, 50-51: 64 GPUs of 40 images, groups of 8
    "rn50w4_in1k_swav_400ep_2x224_4x96": {
        **SWAV,
        "version": 2,
        "arch": "resnet50w4",
        "views": crops((2, 224, 0.08, 1.0), (4, 96, 0.08, 0.14)),
        "batch_size": 2560,
        "hidden": 8192,
        "bn_group": 320,
        "queue": 2560,
        "queue_from": 0,
    },
}

# scripts/deepclusterv2_400ep_pretrain.sh:28-46; main_deepclusterv2.py:345 (10 iterations), :384 (a prototype
# without images stays). No --use_fp16: fp32.
DEEPCLUSTERV2: Fields = {
    **BATCH_4096, "version": 2, "views": crops((2, 160, 0.08, 1.0), (4, 96, 0.05, 0.14)), "precision": "fp32",
    "prototypes": 3000, "heads": 3, "banks": 2,
    "kmeans_iterations": 10, "kmeans_backend": "torch", "empty": "keep",
}  # fmt: skip
DEEPCLUSTERV2_TABLE: dict[str, Fields] = {
    "rn50_in1k_deepclusterv2_400ep_2x160_4x96": DEEPCLUSTERV2,
    # scripts/deepclusterv2_400ep_2x224_pretrain.sh:28-31
    "rn50_in1k_deepclusterv2_400ep_2x224": DEEPCLUSTERV2 | {"views": crops((2, 224, 0.08, 1.0))},
    # scripts/deepclusterv2_800ep_pretrain.sh:29-32, 37
    "rn50_in1k_deepclusterv2_800ep_2x224_6x96": {
        **DEEPCLUSTERV2,
        "views": crops((2, 224, 0.14, 1.0), (6, 96, 0.05, 0.14)),
        "epochs": 800,
    },
}

# open-mmlab/OpenSelfSup -----------------------------------------------------------------------------------

# configs/selfsup/odc/r50_v1.py:43-52, configs/selfsup/deepcluster/r50.py:30-39.
MM_VIEW: Fields = VIEW | {"rotate": 2.0, "jitter": [0.4, 0.4, 1.0, 0.5], "gray": 0.2}
# configs/selfsup/odc/r50_v1.py:3, 13, 14-31, 63-64, 86-99, 101-110; openselfsup/models/necks.py:114-141 is
# the neck, openselfsup/models/memories/odc_memory.py:119-121 the inner product,
# openselfsup/third_party/clustering.py:90 has 20 iterations. An epoch has 2503 steps because
# openselfsup/datasets/loader/build_loader.py:73 drops nothing.
ODC_TABLE: dict[str, Fields] = {
    "odc_resnet50_8xb64-steplr-440e_in1k": {
        **OURS, **SGD, "version": 2, "config": "resnet50_8xb64-steplr-440e",
        "arch": "resnet50", "input": INPUT, "views": [MM_VIEW],
        "epochs": 440, "schedule": {"kind": "step", "milestones": [400], "gamma": 0.4},
        "batch_size": 512, "tail": "pad", "lr": 0.06, "weight_decay": 1e-5, "precision": "fp32",
        "bn_group": 0, "neck_bn_group": 64, "neck_bn_momentum": 0.001,
        "clusters": 10_000, "dim": 256, "hidden": 512, "dropout": 0.5, "head_momentum": 0.0,
        "memory_momentum": 0.5, "min_cluster": 20, "centroids_every": 10, "reweight_power": 0.5,
        "metric": "dot", "sampler": "with-replacement", "init_bn": "reference",
        "kmeans_iterations": 20, "kmeans_backend": "torch",
        "exact": False,  # theirs is: clusters that are too small wait for one step in ours
    },
}  # fmt: skip
# configs/selfsup/deepcluster/r50.py:3, 7, 13-18, 30-39, 50, 72, 80-88 (the rate would drop at epoch 400 of
# 200: never), dropout is of no use without fully connected layers. r50_withoutsobel.py:81 has lr 0.3; ours is
# that of open-mmlab/mmselfsup, configs/selfsup/deepcluster/deepcluster_resnet50_8xb64-steplr-200e_in1k.py:11,
# whose name the recipe has.
DEEPCLUSTER: Fields = {
    **OURS, **SGD, "config": "resnet50_8xb64-steplr-200e",
    "arch": "resnet50", "input": INPUT, "views": [MM_VIEW], "epochs": 200, "schedule": CONSTANT,
    "batch_size": 512, "tail": "pad", "lr": 0.1, "weight_decay": 1e-5, "precision": "fp32",
    "bn_group": 64, "clusters": 10_000, "pca": 256,
    "kmeans_iterations": 20, "kmeans_backend": "torch", "head_momentum": 0.0, "hidden": 0, "dropout": 0.5,
}  # fmt: skip

# facebookresearch/deepcluster -----------------------------------------------------------------------------

# main.sh:10-13, 20-21; main.py:54-56, 120-125, 167-173 (nothing is dropped), 180, 235-239 (no momentum);
# clustering.py:142-145, 168; models/alexnet.py:25-30. 500 epochs are those of the paper and of the released
# weights; main.py:50 says 200.
ALEXNET: Fields = {
    **DEEPCLUSTER, "config": "sobel_alexnet_1xb256-500e",
    "arch": "alexnet", "input": INPUT | {"sobel": True}, "views": [VIEW], "epochs": 500,
    "batch_size": 256, "bn_group": 0, "lr": 0.05, "hidden": 4096,
}  # fmt: skip
DEEPCLUSTER_TABLE: dict[str, Fields] = {
    "deepcluster-sobel_resnet50_8xb64-steplr-200e_in1k": {
        **DEEPCLUSTER,
        "config": "sobel_resnet50_8xb64-steplr-200e",
        "input": INPUT | {"sobel": True},
    },
    "deepcluster_resnet50_8xb64-steplr-200e_in1k": DEEPCLUSTER,
    "deepcluster-sobel_alexnet_1xb256-500e_in1k": ALEXNET,
    # models/vgg16.py:20-26
    "deepcluster-sobel_vgg16-bn_1xb256-500e_in1k": {
        **ALEXNET,
        "config": "sobel_vgg16-bn_1xb256-500e",
        "arch": "vgg16_bn",
    },
}

# idstcv/CoKe ----------------------------------------------------------------------------------------------

# main_single_view.py:240-250: the colours of SimCLR, which the small views have, too.
COKE_STRONG: Fields = VIEW | {"jitter": [0.8, 0.8, 0.8, 0.2], "jitter_p": 0.8, "gray": 0.2, "blur": 0.5}
# main_double_view.py:233-256: the colours of BYOL, blurred always and seldom; coke/loader.py:54-63 has the
# blur's sigma, :66-70 the threshold of the second view's solarisation, that of Pillow: 128.
COKE_BYOL: Fields = VIEW | {"jitter": [0.4, 0.4, 0.2, 0.1], "jitter_p": 0.8, "gray": 0.2}
COKE_PAIR: list[Fields] = [COKE_BYOL | {"blur": 1.0}, COKE_BYOL | {"blur": 0.1, "solarize": 0.2}]
# run_double_view.sh:3-12; main_double_view.py:45-60, 205-207 (LARS of coke/optimizer.py:11-44), :85-99,
# :172 (global SyncBN), :230-231, :270 (nothing is dropped: 1252 steps), :407-418 (epoch 0 at rate 0, a line
# up to epoch 11, a cosine). coke/builder_double_view.py:21-28 are the heads, 2048 being the backbone's
# width; the mean of the branches is :338. torch.cuda.amp is fp16: ours is bf16. Labels are averaged with one
# view alone; `mixture` and `mixture_temperature` are of no use elsewhere, nor is `large_weight` without
# small views.
COKE: Fields = {
    **OURS, "arch": "resnet50", "input": INPUT, "views": COKE_PAIR,
    "epochs": 1001, "schedule": {"kind": "held-cosine", "hold": 1, "warmup": 10},
    "batch_size": 1024, "tail": "pad", "lr": 1.6, "momentum": 0.9, "weight_decay": 1e-6, "optimizer": "lars",
    "precision": "bf16", "bn_group": 0,
    "clusterings": [3000, 4000, 5000], "dim": 128, "hidden": 2048, "temperature": 0.05,
    "ratio": 0.4, "dual_rate": 20.0, "hard_weight": 0.2, "prediction_weight": 0.5, "large_weight": 0.5,
    "centred": False, "mixture_from": 0, "mixture": 5, "mixture_temperature": 0.5,
}  # fmt: skip
COKE_TABLE: dict[str, Fields] = {
    # run_single_view.sh:3-15: --coke-beta 1, only the predictor's loss; --coke-stage 801, --coke-ls 5,
    # --coke-tt 0.5
    "rn50_in1k_coke_1000ep_1x224": {
        **COKE, "views": [COKE_STRONG], "temperature": 0.1, "prediction_weight": 1.0, "mixture_from": 801,
    },
    "rn50_in1k_coke_1000ep_2x224": COKE,
    # run_multi_view.sh:3-14; main_multi_view.py:264-274, 373-376
    "rn50_in1k_coke_800ep_2x224_6x96": {
        **COKE,
        "views": [*COKE_PAIR, COKE_STRONG | {"size": 96, "count": 6, "scale": [0.05, 0.6]}],
        "epochs": 801,
    },
}  # fmt: skip

# WangFeng18/InvariancePropagation -------------------------------------------------------------------------

# README.md, "Train on ImageNet": --n_background 4096 --t 0.2 --blur --cos --network resnet50
# --nonlinearhead 1 --weight_decay 1e-4. main.py:36, 43, 45, 50, 59-64, 123-128, 141 (after epoch 30), 168
# (epochs 1 to 799); utils.py:203-210 (the cosine of an epoch); datasets/imagenet.py:54-67, 88 (nothing is
# dropped: 10,010 steps); models/resnet.py:122-141 is the head. main.py:35, 117: four GPUs of 32 images, each
# with its own statistics.
INVP_TABLE: dict[str, Fields] = {
    "rn50_in1k_invp_800ep": {
        **OURS, **SGD, "arch": "resnet50", "input": INPUT,
        "views": [
            VIEW | {
                "scale": [0.2, 1.0], "jitter": [0.4, 0.4, 0.4, 0.1], "jitter_p": 0.8, "gray": 0.2, "blur": 0.5,
            }
        ],
        "epochs": 799, "schedule": {"kind": "epoch-cosine"},
        "batch_size": 128, "tail": "pad", "lr": 0.03, "weight_decay": 1e-4, "precision": "fp32",
        "bn_group": 32, "dim": 128, "hidden": 2048, "temperature": 0.2,
        "memory_momentum": 0.5, "background": 4096, "neighbours": 4, "layers": 3, "positives": 50,
        "positive_weight": 0.6, "propagate_from": 30, "head_bn": False,
    },
}  # fmt: skip

# The reference rows ---------------------------------------------------------------------------------------

# pytorch/vision (017e9b9), references/classification/train.py: the defaults of get_args_parser, on 8 GPUs as
# its README says. Ours leaves the short last batch of an epoch out.
SUPERVISED_TABLE: dict[str, Fields] = {
    "supervised_resnet50_8xb32-steplr-90e_in1k": {
        **OURS, **SGD, "config": "resnet50_8xb32-steplr-90e",
        "arch": "resnet50", "input": INPUT, "views": [VIEW], "classes": 1000,
        "epochs": 90, "schedule": {"kind": "step", "milestones": [30, 60], "gamma": 0.1},
        "batch_size": 256, "tail": "drop", "lr": 0.1, "weight_decay": 1e-4, "precision": "fp32",
        "bn_group": 32,
    },
}  # fmt: skip
# Nobody's: an untrained ResNet-50.
RANDOM_TABLE: dict[str, Fields] = {
    "random_resnet50": {
        **OURS, **SGD, "config": "resnet50",
        "arch": "resnet50", "input": INPUT, "views": [VIEW], "epochs": 0, "schedule": CONSTANT,
        "batch_size": 1, "tail": "drop", "lr": 0.0, "weight_decay": 0.0, "precision": "bf16",
        "bn_group": 0,
    },
}  # fmt: skip
# Nobody's: no network at all.
PIXELS_TABLE: dict[str, Fields] = {
    "raw_pixels_224": {**RANDOM_TABLE["random_resnet50"], "config": "224 px", "arch": "pixels"},
}

# Method -> recipe name -> every field but its name, in the order that the method lists them; those of methods
# that are no clustering ones stand in tests/baselines.py.
PUBLISHED: dict[str, dict[str, Fields]] = {
    "coke": COKE_TABLE,
    "deepcluster": in_bf16(DEEPCLUSTER_TABLE),
    "deepclusterv2": in_bf16(DEEPCLUSTERV2_TABLE),
    "invariance_propagation": in_bf16(INVP_TABLE),
    "odc": in_bf16(ODC_TABLE),
    "random": RANDOM_TABLE,
    "raw_pixels": PIXELS_TABLE,
    "supervised": in_bf16(SUPERVISED_TABLE),
    "swav": SWAV_TABLE,
}
