"""Recipes of Supervised. No torch here."""

from __future__ import annotations

from pretrain.base.settings import Positive, changed, settings
from pretrain.data.view import CIFAR_MEAN, CIFAR_STD, Input, View
from pretrain.train.recipe import Cosine, Recipe, Step, in_bf16

TITLE = "Supervised"
SUMMARY = "cross-entropy on the true labels: the reference row above the self-supervised ones"


@settings
class SupervisedRecipe(Recipe):
    """classes: of the data set."""

    classes: Positive = 1000

    def fits(self, images: int, classes: int) -> None:
        super().fits(images, classes)
        if not classes:
            raise self.misfit("the images have no labels of single classes to learn; choose a set that has")
        if classes > self.classes:
            raise self.misfit(f"the images are of {classes} classes, not {self.classes}; set 'classes'")


_RELEASED = SupervisedRecipe(
    name="supervised_resnet50_8xb32-steplr-90e_in1k",
    config="resnet50_8xb32-steplr-90e",
    arch="resnet50",
    input=Input(size=224, resize=256),
    views=(View(size=224),),
    epochs=90,
    batch_size=256,
    lr=0.1,
    weight_decay=1e-4,
    schedule=Step(milestones=(30, 60)),
    precision="fp32",
    bn_group=32,  # those of one of eight GPUs
)
PAPER = (_RELEASED, in_bf16(_RELEASED))
DEMO = (
    changed(
        PAPER[0],
        name="supervised_resnet10-narrow_demo",
        config="resnet10-narrow",
        arch="resnet10_narrow",
        input=Input(size=32, resize=32),
        views=(View(size=32, scale=(0.5, 1.0), jitter=(0.4, 0.4, 1.0, 0.5), gray=0.2, mix=0.5),),
        epochs=20,
        batch_size=128,
        schedule=Step(milestones=(10, 17)),
        precision="bf16",
        bn_group=0,
        classes=10,
    ),
)
PHOTOS = (
    changed(
        DEMO[0],
        name="supervised_resnet10-narrow_photos",
        input=Input(size=32, resize=36),
        views=(View(size=32, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.8, 0.2), gray=0.2, mix=0.3),),
        epochs=60,
        schedule=Step(milestones=(40, 54)),
        classes=100,  # at most
        adapts=("batch_size", "lr", "epochs"),
    ),
)
# Ours: nobody published one beside the others. CIFAR-100 needs `classes = 100`.
CIFAR = (
    SupervisedRecipe(
        name="supervised_resnet18_cifar",
        config="resnet18-cifar",
        arch="resnet18_small_pad2",
        input=Input(size=32, resize=32, mean=CIFAR_MEAN, std=CIFAR_STD),
        views=(View(size=32, scale=(0.25, 1.0)),),
        epochs=200,
        batch_size=128,
        lr=0.1,
        weight_decay=5e-4,
        schedule=Cosine(),
        classes=10,
    ),
)
SMOKE = (
    changed(
        DEMO[0],
        name="supervised_resnet10-narrow_smoke",
        epochs=6,
        batch_size=64,
        schedule=Step(milestones=(5,)),
    ),
)
