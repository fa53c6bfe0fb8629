"""The published recipes are those of the reference scripts, field by field; an epoch has their steps."""

from __future__ import annotations

from typing import Any

import pytest

from pretrain.base import registry
from pretrain.base.settings import changed, plain
from pretrain.train.recipe import key
from tests.baselines import BASELINES
from tests.published import PUBLISHED as CLUSTERING
from tests.published_cifar import CIFAR_RECIPES
from zoo.suites.builtin import load
from zoo.suites.suite import FLOORS, recipes

IMAGES = 1_281_167  # of ImageNet-1k
PUBLISHED = CLUSTERING | BASELINES


def test_every_method_is_in_the_table() -> None:
    assert set(registry.names("pretrain.methods")) == set(PUBLISHED)


@pytest.mark.parametrize("method", PUBLISHED)
def test_every_recipe_has_the_fields_of_its_script(method: str) -> None:
    found = {recipe.name: plain(recipe) for recipe in recipes(method)["paper"]}
    assert list(found) == list(PUBLISHED[method])
    for name, fields in PUBLISHED[method].items():
        assert found[name] == {"name": name, **fields}


@pytest.mark.parametrize("method", CIFAR_RECIPES)
def test_every_recipe_of_cifar_has_the_fields_of_its_script(method: str) -> None:
    found = {recipe.name: plain(recipe) for recipe in recipes(method)["cifar"]}
    assert found == {name: {"name": name, **fields} for name, fields in CIFAR_RECIPES[method].items()}


@pytest.mark.parametrize(
    "method", [method for method in PUBLISHED if method not in (*FLOORS, "coke", "dino", "swav")]
)
def test_the_published_precision_comes_first_and_bf16_has_a_name_of_its_own(method: str) -> None:
    paper: Any = load("paper", None, {})
    first = paper.entry(method).recipe
    mixed = paper.entry(f"{first.name}_bf16").recipe
    assert (first.precision, mixed.precision) == ("fp32", "bf16")
    assert key(mixed) != key(first)
    assert changed(mixed, name=first.name, config=first.config, precision="fp32") == first


@pytest.mark.parametrize(
    ("method", "steps"),
    [
        ("odc", 2503),
        ("deepcluster", 2503),
        ("deepclusterv2", 312),
        ("swav", 312),
        ("coke", 1252),
        ("invariance_propagation", 10_010),
        ("simclr", 312),
        ("mocov2", 5004),
        ("byol", 312),
        ("dino", 2502),
    ],
)
def test_an_epoch_has_the_steps_of_the_reference(method: str, steps: int) -> None:
    assert recipes(method)["paper"][0].per_epoch(IMAGES) == steps


def test_steps_of_an_epoch_at_its_edges() -> None:
    dropping = changed(recipes("odc")["smoke"][0], batch_size=16)
    padding = changed(dropping, tail="pad")
    assert [dropping.per_epoch(n) for n in (15, 16, 17, 31, 32)] == [1, 1, 1, 1, 2]
    assert [padding.per_epoch(n) for n in (15, 16, 17, 31, 32)] == [1, 1, 2, 2, 2]
