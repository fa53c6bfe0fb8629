"""CIFAR-100: 32 x 32 pixels, a hundred classes, 50,000 + 10,000 images (Krizhevsky 2009)."""

from __future__ import annotations

from pretrain.data import cifar

DATASET = cifar.dataset(
    "cifar100", "cifar-100-python", "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"
)
