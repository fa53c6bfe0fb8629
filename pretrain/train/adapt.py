"""Recipes that adapt to the number of images, by a stated rule. No torch here.

N images, where the recipe names the setting in `adapts`:

    batch_size            at most the largest power of two in N / 8
    lr                    in proportion to the batch, where that adapts
    clusters, prototypes  at most N / 20, at least 2
    epochs                in proportion to 3,000 / N; between a quarter and four times those stated
"""

from __future__ import annotations

from typing import Any

from pretrain.base.settings import override
from pretrain.train.recipe import R

REFERENCE = 3000  # images that a recipe states its epochs for
PER_CLUSTER = 20
BATCHES = 8  # an epoch has at least


def for_images(recipe: R, images: int) -> tuple[R, list[str]]:
    """The recipe for this many images, and a sentence for each setting that it adapted; it adapts no more."""
    rules = {
        "batch_size": _batch(recipe.batch_size, images),
        "epochs": _epochs(recipe.epochs, images),
        **{
            name: _clusters(k, images)
            for name in ("clusters", "prototypes")
            if (k := getattr(recipe, name, 0))
        },
    }
    changes: dict[str, Any] = {
        name: rules[name] for name in recipe.adapts if name in rules and rules[name] != getattr(recipe, name)
    }
    said = [f"{name} {getattr(recipe, name)} -> {new} for {images:,} images" for name, new in changes.items()]
    if "batch_size" in changes and "lr" in recipe.adapts:
        changes["lr"] = recipe.lr * changes["batch_size"] / recipe.batch_size
        said.append(f"lr {recipe.lr:g} -> {changes['lr']:g}, with the batch")
    made, followed = override(recipe, changes | {"adapts": []}, recipe.name)
    return made, said + followed


def _batch(stated: int, images: int) -> int:
    return min(stated, 1 << (max(2, images // BATCHES).bit_length() - 1))


def _epochs(stated: int, images: int) -> int:
    return min(max(round(stated * REFERENCE / max(1, images)), -(-stated // 4)), 4 * stated)


def _clusters(stated: int, images: int) -> int:
    return max(2, min(stated, images // PER_CLUSTER))
