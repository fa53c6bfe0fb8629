"""Suites: which variant of every recipe and protocol runs, and on which data. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.contract.protocol import Protocol, catalogue
from pretrain.base import registry
from pretrain.base.faults import Fault, unknown
from pretrain.base.settings import override, settings
from pretrain.data import dataset
from pretrain.data.split import Split, from_folder, require
from pretrain.train.recipe import Recipe

METHODS = "pretrain.methods"
VARIANTS = ("paper", "demo", "smoke")
Reference = str | Path  # 'dataset/split', or a folder of images


@dataclass(frozen=True)
class Trained:
    """A model that the zoo trains: the name people type, the method's folder, its recipe in the suite.

    notes: settings that followed from others, a sentence each.
    """

    name: str
    method: str
    recipe: Recipe
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Given:
    """A model whose weights are a file of the user's; no path: one that was named in an earlier call."""

    name: str
    path: Path | None = None


Entry = Trained | Given


@settings
class Suite:
    """variant: which constants of the recipe and protocol folders; root: folder of data sets; data: folders
    of some.

    images: 'dataset/split' that is pretrained on, or image_folder, a folder of any images; overrides:
    settings by model or benchmark name; protocols: names it offers, or all; beside: models whose rows stand
    next to the one asked for; embedded: name of the size of the embedded scenes, '' where the data are the
    user's.
    """

    name: str
    variant: str
    root: Path
    data: dict[str, Path] = field(default_factory=dict)
    images: str = "imagenet/train"
    image_folder: Path | None = None
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    protocols: tuple[str, ...] | None = None
    beside: tuple[str, ...] = ()
    embedded: str = ""

    @property
    def pretrained_on(self) -> Reference:
        """What models are pretrained on."""
        return self.image_folder or self.images

    def entry(self, name: str) -> Trained:
        """The model called `name`: a method's folder, or the
        full name of one of its recipes in this suite.
        """
        known: dict[str, tuple[str, Recipe]] = {}
        for method in registry.names(METHODS):
            variants = recipes(method)[self.variant]
            known |= {recipe.name: (method, recipe) for recipe in variants}
            known[method] = (method, variants[0])
        if name not in known:
            raise unknown("model", name, known, f"suite {self.name}")
        method, recipe = known[name]
        changes = {**self.overrides.get("pretrain", {}), **self.overrides.get(method, {})}
        if recipe.epochs == 0:  # nothing of a training recipe applies, but its backbone must match
            changes = {k: v for k, v in changes.items() if k == "arch" or k.partition(".")[0] == "input"}
        made, notes = override(recipe, changes, name)
        return Trained(name, method, made, tuple(notes))

    def catalogue(self) -> dict[str, Protocol]:
        """The protocols of this suite by name, with its settings."""
        found = catalogue(self.variant)
        for name in self.protocols or ():
            if name not in found:
                raise unknown("benchmark", name, found, f"suite {self.name}")
        return {
            name: self._with_settings(protocol)
            for name, protocol in found.items()
            if self.protocols is None or name in self.protocols
        }

    def _with_settings(self, protocol: Protocol) -> Protocol:
        made, notes = override(protocol.settings, self.overrides.get(protocol.name, {}), protocol.name)
        return replace(protocol, settings=made, notes=tuple(notes))

    def split(self, reference: Reference) -> Split:
        """A split by 'dataset/split', or all images of a folder.
        Raises Fault (data-missing) with the layout.
        """
        if isinstance(reference, Path):
            return from_folder(
                f"{reference.name}/all", require(reference, "images at any depth below the folder")
            )
        name, _, part = reference.partition("/")
        data = dataset.find(name)
        found = data.split(self.folder(name), part)
        expected = data.counts.get(part)
        if self.variant == "paper" and name not in self.data and expected not in (None, len(found)):
            said = f"expected {expected:,} images as published, found {len(found):,}"
            raise Fault("data-corrupt", f"{reference} in {self.folder(name)}: {said}; complete the data set")
        return found

    def folder(self, name: str) -> Path:
        """Where a data set lies: where the suite says, else under its customary name below the root."""
        place = dataset.find(name).folder or name
        return self.data.get(name, self.data.get(place, self.root / place))

    def drawn(self) -> bool:
        """Whether the data of the suite exist; only the embedded scenes can be missing and still be had."""
        return not self.embedded or (self.root / "manifest.json").exists()

    def check_names(self) -> None:
        """Raises Fault where settings or models are named that do not exist."""
        known = {"pretrain", *registry.names(METHODS), *catalogue(self.variant)}
        for name in self.overrides:
            if name not in known:
                raise unknown("model or benchmark", name, known, f"the settings of suite {self.name}")


def recipes(method: str) -> Mapping[str, tuple[Recipe, ...]]:
    """Recipes of a method by variant; the first of a variant is its default."""
    module = registry.load(METHODS, method, "recipes")
    return {variant: getattr(module, variant.upper()) for variant in VARIANTS}
