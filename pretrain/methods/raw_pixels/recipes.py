"""Recipes of raw pixels. No torch here."""

from __future__ import annotations

from pretrain.base.settings import changed
from pretrain.data.view import CIFAR_MEAN, CIFAR_STD, Input, View
from pretrain.train.recipe import Recipe

TITLE = "Raw pixels"
SUMMARY = "no network at all: what the images alone give to a linear classifier or to nearest neighbours"
FOLLOWS = ("input",)  # what it takes over of settings for models that are trained


PAPER = (
    Recipe(
        name="raw_pixels_224",
        config="224 px",
        arch="pixels",
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
        name="raw_pixels_32_demo",
        config="32 px",
        input=Input(size=32, resize=32),
        views=(View(size=32),),
    ),
)
PHOTOS = (changed(DEMO[0], name="raw_pixels_32_photos"),)
CIFAR = (
    changed(
        DEMO[0],
        name="raw_pixels_32_cifar",
        input=Input(size=32, resize=32, mean=CIFAR_MEAN, std=CIFAR_STD),
    ),
)
SMOKE = (changed(DEMO[0], name="raw_pixels_32_smoke"),)
