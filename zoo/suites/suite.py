"""Suites: which variant of every recipe and protocol runs, and on which data. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.contract.protocol import Protocol, catalogue
from pretrain.base import registry
from pretrain.base.faults import Fault, unknown
from pretrain.base.settings import changed, override, settings
from pretrain.data import dataset
from pretrain.data.exclude import without
from pretrain.data.split import Split, from_folder, require
from pretrain.train.recipe import Recipe

METHODS = "pretrain.methods"
SHORT = 12  # characters of a setting that a config's name can hold
VARIANTS = ("paper", "photos", "cifar", "demo", "smoke")
DECLARED = ("TITLE", "SUMMARY", "PAPER", "DEMO", "SMOKE")  # by every method; other variants may be left out
FLOORS = ("random", "raw_pixels")  # rows that every table shows, to compare with
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
    next to the one asked for; published: whether the data are the published sets, whose numbers of images are
    known and demanded; exclude: a file that lists images to leave out; embedded: name of the size of the
    embedded scenes, '' where the data are the user's.
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
    published: bool = False
    exclude: Path | None = None
    embedded: str = ""

    @property
    def pretrained_on(self) -> Reference:
        """What models are pretrained on."""
        return self.image_folder or self.images

    def entry(self, name: str) -> Trained:
        """The model called `name`: a method's folder, or the
        full name of one of its recipes in this suite.
        """
        known = self.models()
        if name not in known:
            raise unknown("model", name, known, f"suite {self.name}")
        method, recipe = known[name]
        every, own = self.overrides.get("pretrain", {}), self.overrides.get(method, {})
        follows = getattr(registry.load(METHODS, method, "recipes"), "FOLLOWS", None)
        if follows is not None:  # it is not trained, but must match those that are
            every = {k: v for k, v in every.items() if k.partition(".")[0] in follows}
            for path in own:
                if path.partition(".")[0] not in follows:
                    raise unknown("setting", path, follows, name)
        changes = {**every, **own}
        made, notes = override(recipe, changes, name)
        if changes:
            made = changed(made, config=_marked(recipe.config or recipe.name, changes))
        notes += [f"{name}.{said}" for said in made.unreached()]
        if self.variant not in recipes(method):
            notes.append(f"{name}: it has no recipe for '{self.variant}'; that of 'demo' stands in")
        return Trained(name, method, made, tuple(notes))

    def models(self) -> dict[str, tuple[str, Recipe]]:
        """Every model that it can train, by name: method and recipe. Raises Fault where two methods have a
        recipe of one name, or one has a recipe called as another.
        """
        known: dict[str, tuple[str, Recipe]] = {}
        for method in registry.names(METHODS):
            declared = recipes(method)
            variants = declared.get(self.variant, declared["demo"])
            for name, recipe in [*((one.name, one) for one in variants), (method, variants[0])]:
                if (other := known.get(name, (method, recipe))[0]) != method:
                    said = f"methods {other} and {method} both have a model called '{name}'"
                    raise Fault("bad-config", f"{said}; rename the recipe of one of them")
                known[name] = (method, recipe)
        return known

    def methods(self) -> list[str]:
        """Every method, the one to train and those to compare with."""
        return list(registry.names(METHODS))

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
        settings = protocol.settings
        if not self.published and hasattr(settings, "counts"):  # of the images that a foreign trainer finds
            settings = changed(settings, counts=(0, 0))
        made, notes = override(settings, self.overrides.get(protocol.name, {}), protocol.name)
        columns = protocol.columns_of(made) if protocol.columns_of else protocol.columns
        return replace(protocol, settings=made, notes=tuple(notes), columns=columns)

    def split(self, reference: Reference) -> Split:
        """A split by 'dataset/split', or all images of a folder, without those that `exclude` lists.

        Raises Fault (data-missing) with the layout.
        """
        found = self._whole(reference)
        if self.exclude is None:
            return found
        listed = require(self.exclude, "a file with a path of an image to leave out on each line")
        return without(found, listed)

    def _whole(self, reference: Reference) -> Split:
        if isinstance(reference, Path):
            return from_folder(
                f"{reference.name}/all", require(reference, "images at any depth below the folder")
            )
        name, _, part = reference.partition("/")
        data = dataset.find(name)
        found = data.split(self.folder(name), part)
        expected = data.counts.get(part)
        if self.published and expected not in (None, len(found)):
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
    """Recipes of a method by variant, those that it has; the first of a variant is its default."""
    module = registry.load(METHODS, method, "recipes", DECLARED)
    return {
        variant: getattr(module, variant.upper()) for variant in VARIANTS if hasattr(module, variant.upper())
    }


def _marked(config: str, changes: Mapping[str, Any]) -> str:
    """A config's name with what is not as its recipe has it: the first two settings, and how many more."""
    shown = [f"{path}={new}" for path, new in sorted(changes.items()) if len(str(new)) <= SHORT][:2]
    more = len(changes) - len(shown)
    return ", ".join(
        [config, *shown, *([f"{more} more changed" if shown else f"{more} changed"] if more else [])]
    )
