"""`zoo.fit`: pretraining by a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pretrain.base import registry
from pretrain.base.faults import Fault, unknown
from pretrain.base.numerics import numerics
from pretrain.base.settings import override
from pretrain.data.split import Split, from_folder, require
from pretrain.train import loop
from pretrain.train.recipe import Recipe
from zoo.suites.suite import METHODS, recipes

Report = Callable[[int, int, str], None]  # iterations done, in all, one line for people


def fit(
    recipe: Recipe | str,
    data: str | Path | Split,
    out: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    report: Report | None = None,
) -> Path:
    """Pretrains, and returns the path of the backbone's file; the same call again continues what `out` holds.

    recipe: one of a method's, the name of one (`odc_demo`), or a method's name for its published one;
    data: a folder of images at any depth, or a split, whose labels are for diagnostics alone; settings: the
    recipe's fields to change, such as {"epochs": 5, "views.0.size": 64}; device: by default a GPU if there
    is one.

    Beside the backbone stand state.pt, metrics.jsonl and, of a clustering method, clusters.safetensors.

    Raises:
        Fault: bad-config, data-missing, data-corrupt, nan, disk-full.
    """
    method, found = named(recipe)
    if settings:
        found, _ = override(found, dict(settings), found.name)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with numerics("fp32"):  # but for the network, see its recipe
        return loop.fit(method, found, _split(data), Path(out), seed, where, report or _quiet)


def named(recipe: Recipe | str) -> tuple[str, Recipe]:
    """The method's folder and the recipe. Raises Fault on an unknown name, or a recipe of no method here."""
    known = {name: recipes(name) for name in registry.names(METHODS)}
    of = [(method, one) for method, found in known.items() for group in found.values() for one in group]
    if isinstance(recipe, str):
        by_name = {one.name: (method, one) for method, one in of}
        by_name |= {method: (method, found["paper"][0]) for method, found in known.items()}
        if recipe not in by_name:
            raise unknown("recipe", recipe, by_name)
        return by_name[recipe]
    alike = [(method, one.name) for method, one in of if type(one) is type(recipe)]
    methods = {m for m, name in alike if name == recipe.name} or {m for m, _ in alike}
    if len(methods) != 1:
        said = f"{type(recipe).__name__} '{recipe.name}' is of {', '.join(sorted(methods)) or 'none'}"
        raise Fault("bad-config", f"fit: expected a recipe of one method, {said}; give it the name of one")
    return methods.pop(), recipe


def _split(data: str | Path | Split) -> Split:
    if isinstance(data, Split):
        return data
    folder = require(Path(data), "images at any depth below the folder")
    return from_folder(f"{folder.name or 'images'}/all", folder)


def _quiet(done: int, total: int, line: str) -> None:
    """Nobody is told."""
