"""Recipes of Random. No torch here."""

from __future__ import annotations

from pretrain.base.settings import changed
from pretrain.data.view import CIFAR_MEAN, CIFAR_STD, Input, View
from pretrain.train.recipe import Recipe

TITLE = "Random"
SUMMARY = "the untrained backbone: the floor that every method must beat"
FOLLOWS = ("arch", "input")  # what it takes over of settings for models that are trained


PAPER = (
    Recipe(
        name="random_resnet50",
        config="resnet50",
        arch="resnet50",
        input=Input(size=224, resize=256),
        views=(View(size=224),),
        epochs=0,
        batch_size=1,
        lr=0.0,
        weight_decay=0.0,
    ),
)
DEMO = (
    changed(
        PAPER[0],
        name="random_resnet10-narrow_demo",
        config="resnet10-narrow",
        arch="resnet10_narrow",
        input=Input(size=32, resize=32),
        views=(View(size=32),),
    ),
)
PHOTOS = (
    changed(
        DEMO[0],
        name="random_resnet10-narrow_photos",
        input=Input(size=32, resize=36),
        views=(View(size=32),),
    ),
)
CIFAR = (
    changed(
        PAPER[0],
        name="random_resnet18_cifar",
        config="resnet18-cifar",
        arch="resnet18_small_pad2",
        input=Input(size=32, resize=32, mean=CIFAR_MEAN, std=CIFAR_STD),
        views=(View(size=32),),
    ),
)
SMOKE = (changed(DEMO[0], name="random_resnet10-narrow_smoke"),)
