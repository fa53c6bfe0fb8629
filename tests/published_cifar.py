"""The recipes of CIFAR as plain values, typed by hand from vturrisi/solo-learn at 9187ea3.

Its scripts changed over time: when the README's numbers were entered (SwAV fca55e3, DeepCluster-v2 e90d420)
biases and norms took part in LARS, SwAV's rate ended at 0.0006, and DeepCluster-v2 had no blur.
"""

from __future__ import annotations

from tests.published import CONSTANT, OURS, SGD, VIEW, Fields

# solo/data/pretrain_dataloader.py:206-212; solo/methods/base.py:198-203 is the stem of 3x3, padded by two,
# without max-pooling.
CIFAR: Fields = {
    **OURS, "config": "resnet18-cifar", "arch": "resnet18_small_pad2", "bn_group": 0, "tail": "drop",
    "input": {
        "size": 32, "resize": 32, "sobel": False,
        "mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616],
    },
}  # fmt: skip
# scripts/pretrain/cifar/{swav,deepclusterv2}.yaml, "optimizer" and "max_epochs", and augmentations/
# symmetric.yaml: two crops of 32 px. Momentum is the default of solo/args/pretrain.py. Theirs is
# fp16: ours is bf16.
TRAINED: Fields = {
    **CIFAR, "epochs": 1000, "batch_size": 256, "lr": 0.6, "momentum": 0.9, "weight_decay": 1e-6,
    "optimizer": "lars-clipped", "precision": "bf16",
    "views": [
        VIEW | {
            "size": 32, "count": 2, "scale": [0.08, 1.0], "jitter": [0.8, 0.8, 0.8, 0.2], "jitter_p": 0.8,
            "gray": 0.2, "blur": 0.5,
        }
    ],
    "dim": 128, "hidden": 2048, "prototypes": 3000, "temperature": 0.1,
}  # fmt: skip

CIFAR_RECIPES: dict[str, dict[str, Fields]] = {
    # swav.yaml, "method_kwargs": two epochs of 195 steps are frozen; sk_epsilon and sk_iters are the defaults
    # of solo/methods/swav.py; 10 epochs of warm-up from 3e-5 and min_lr 0 those of solo/methods/base.py.
    "swav": {
        "swav_resnet18_cifar": {
            **TRAINED, "schedule": {"kind": "cosine", "warmup": 10, "start": 5e-5, "final": 0.0},
            "epsilon": 0.05, "sinkhorn_iterations": 3, "assign_views": 2, "freeze": 390, "queue": 3840,
            "queue_from": 50,
        },
    },
    # deepclusterv2.yaml, "method_kwargs" and "scheduler"; kmeans_iters is the default of
    # solo/methods/deepclusterv2.py, and solo/utils/kmeans.py leaves a prototype without images where it is.
    "deepclusterv2": {
        "deepclusterv2_resnet18_cifar": {
            **TRAINED, "version": 2, "schedule": {"kind": "cosine", "warmup": 11, "start": 0.0, "final": 0.001},
            "heads": 3, "banks": 2, "kmeans_iterations": 10, "kmeans_backend": "torch", "empty": "keep",
        },
    },
    # The rows beside them are ours.
    "supervised": {
        "supervised_resnet18_cifar": {
            **CIFAR, **SGD, "views": [VIEW | {"size": 32, "scale": [0.25, 1.0]}], "epochs": 200,
            "batch_size": 128, "lr": 0.1, "weight_decay": 5e-4, "precision": "bf16", "classes": 10,
            "schedule": {"kind": "cosine", "warmup": 0, "start": 0.0, "final": 0.0},
        },
    },
    "random": {
        "random_resnet18_cifar": {
            **CIFAR, **SGD, "views": [VIEW | {"size": 32}], "epochs": 0, "batch_size": 1, "lr": 0.0,
            "weight_decay": 0.0, "precision": "bf16", "schedule": CONSTANT,
        },
    },
    "raw_pixels": {
        "raw_pixels_32_cifar": {
            **CIFAR, **SGD, "config": "32 px", "arch": "pixels", "views": [VIEW | {"size": 32}], "epochs": 0,
            "batch_size": 1, "lr": 0.0, "weight_decay": 0.0, "precision": "bf16", "schedule": CONSTANT,
        },
    },
}  # fmt: skip
