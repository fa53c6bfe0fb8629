"""Recipes adapt to the number of images by the stated rule, where they say so and nobody set the value."""

from typing import Any

import pytest

from pretrain.base.settings import changed, override
from pretrain.methods.deepclusterv2.recipes import DEMO as PROTOTYPES
from pretrain.methods.odc.recipes import DEMO
from pretrain.train.adapt import for_images
from pretrain.train.recipe import Recipe, Step, decisive

ALL = changed(
    DEMO[0],
    adapts=("batch_size", "lr", "epochs", "clusters"),
    batch_size=128,
    lr=0.08,
    epochs=100,
    schedule=Step(milestones=(80,)),
    clusters=100,
)


@pytest.mark.parametrize(
    ("images", "batch", "epochs", "clusters"),
    [
        (3000, 128, 100, 100),
        (1000, 64, 300, 50),
        (400, 32, 400, 20),
        (40, 4, 400, 2),
        (1, 2, 400, 2),
        (6000, 128, 50, 100),
        (100_000, 128, 25, 100),
    ],
)
def test_the_rule_by_hand(images: int, batch: int, epochs: int, clusters: int) -> None:
    found, said = for_images(ALL, images)
    assert (found.batch_size, found.epochs, found.clusters) == (batch, epochs, clusters)
    assert found.lr == pytest.approx(0.08 * batch / 128)
    assert found.schedule == Step(milestones=(80 * epochs // 100,))
    assert len([line for line in said if f"{images:,} images" in line]) == sum(
        a != b for a, b in ((batch, 128), (epochs, 100), (clusters, 100))
    )


def test_it_adapts_once() -> None:
    found, _ = for_images(ALL, 1000)
    assert for_images(found, 500) == (found, [])


def test_prototypes_follow_too() -> None:
    recipe = changed(PROTOTYPES[0], adapts=("prototypes",), prototypes=60)
    assert for_images(recipe, 100)[0].prototypes == 5


@pytest.mark.parametrize("setting", [{"clusters": 90}, {"epochs": 7}, {"batch_size": 100}, {"lr": 0.06}])
def test_what_somebody_set_stays(setting: dict[str, Any]) -> None:
    made, _ = override(ALL, setting, "odc")
    found, _ = for_images(made, 200)
    assert {name: getattr(found, name) for name in setting} == setting


def test_other_recipes_stay_as_they_are() -> None:
    assert for_images(DEMO[0], 10) == (DEMO[0], [])


def test_a_recipe_that_has_adapted_is_the_recipe_with_those_values() -> None:
    by_hand: Recipe = changed(ALL, adapts=(), batch_size=64, lr=0.04, clusters=50)
    by_hand = changed(by_hand, epochs=300, schedule=Step(milestones=(240,)))
    assert decisive(for_images(ALL, 1000)[0]) == decisive(by_hand)
