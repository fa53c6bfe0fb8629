"""The smallest embedded data sets that every class and layout still fits in."""

from __future__ import annotations

from dataclasses import replace

from pretrain.data.embedded.digits import SMOKE

TINY = replace(
    SMOKE,
    imagenet_train=30, imagenet_val=10,
    inat18_train=40, inat18_val=20,
    places205_train=16, places205_val=8,
    voc2007_train=10, voc2007_val=10, voc2007_test=10,
    voc2012_train=20, voc2012_val=20,
    coco_train=30, coco_val=10,
    cityscapes_train=10, cityscapes_val=10,
)  # fmt: skip
