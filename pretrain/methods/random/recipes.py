"""Recipes of Random. No torch here."""

from __future__ import annotations

from pretrain.base.settings import changed
from pretrain.data.view import Input, View
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
        name="random_resnet10-half_photos",
        config="resnet10-half",
        arch="resnet10_half",
        input=Input(size=96, resize=110),
        views=(View(size=96),),
    ),
)
SMOKE = (changed(DEMO[0], name="random_resnet10-narrow_smoke"),)
