"""CIFAR-10: 32 x 32 pixels, ten classes, 50,000 + 10,000 images (Krizhevsky 2009)."""

from __future__ import annotations

from pretrain.data import cifar

DATASET = cifar.dataset(
    "cifar10", "cifar-10-batches-py", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"
)
