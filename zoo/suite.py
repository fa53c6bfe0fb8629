"""Suites: which variant of every recipe and protocol runs, and on which data. No torch here."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.protocol import ORDER, Protocol, catalogue
from pretrain import folder, method
from pretrain.faults import Fault, unknown
from pretrain.recipe import Recipe, override
from pretrain.split import Split

BUILT_IN = ("demo", "smoke", "paper")


@dataclass(frozen=True)
class Entry:
    """A model of the zoo in a suite: the name people type, the method's file, its recipe there."""

    name: str
    method: str
    recipe: Recipe


@dataclass(frozen=True)
class Suite:
    """variant: which constants of the recipe and protocol files; root: folder of data sets; data: folders of some.

    images: 'dataset/split' that is pretrained on, or a folder; overrides: settings by model or protocol name;
    protocols: names it offers, or all; beside: models whose rows stand next to the one asked for.
    """

    name: str
    variant: str
    root: Path
    data: dict[str, Path] = field(default_factory=dict)
    images: str | Path = "imagenet/train"
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    protocols: tuple[str, ...] | None = None
    beside: tuple[str, ...] = ()

    def entry(self, name: str) -> Entry:
        """The model called `name`: a method's file name, or the full name of one of its recipes in this suite."""
        known: dict[str, Entry] = {}
        for each in folder.names("pretrain.methods"):
            recipes = method.recipes(each)[self.variant]
            known |= {recipe.name: Entry(recipe.name, each, recipe) for recipe in recipes}
            known[each] = Entry(each, each, recipes[0])
        if name not in known:
            raise unknown("model", name, known, f"suite {self.name}")
        found = known[name]
        changes = self.overrides.get("pretrain", {}) | self.overrides.get(found.method, {})
        if found.recipe.epochs == 0:  # nothing of a training recipe applies, but its backbone must match
            changes = {k: v for k, v in changes.items() if k == "arch" or k.startswith("input.")}
        return Entry(name, found.method, override(found.recipe, changes, name))

    def catalogue(self) -> dict[str, Protocol]:
        """The protocols of this suite, with its settings."""
        found = catalogue(self.variant)
        for name in self.protocols or ():
            if name not in found:
                raise unknown("protocol", name, found, f"suite {self.name}")
        return {
            name: _with(protocol, self.overrides.get(name, {}))
            for name, protocol in found.items()
            if self.protocols is None or name in self.protocols
        }

    def split(self, reference: str | Path) -> Split:
        """A split by 'dataset/split', or all images of a folder. Raises Fault (data-missing) with the layout."""
        if isinstance(reference, Path):
            return folder.load("pretrain.datasets", "folder").split(reference, "all")  # type: ignore[no-any-return]
        dataset, _, part = reference.partition("/")
        module = folder.load("pretrain.datasets", dataset)
        found: Split = module.split(self.folder(dataset), part)
        expected = module.COUNTS.get(part)
        if self.variant == "paper" and dataset not in self.data and expected not in (None, len(found)):
            said = f"expected {expected:,} images as published, found {len(found):,}"
            raise Fault("data-corrupt", f"{reference} in {self.folder(dataset)}: {said}; complete the data set")
        return found

    def folder(self, dataset: str) -> Path:
        """Where a data set lies: VOC and COCO under their customary names."""
        place = FOLDERS.get(dataset, dataset)
        return self.data.get(dataset, self.data.get(place, self.root / place))


FOLDERS = {"voc07": "VOCdevkit"}
# Read as a whole by the detection and segmentation trainers.
WHOLE = {
    "VOCdevkit": "VOC2007 and VOC2012 with JPEGImages, Annotations, ImageSets; VOC2012 with SegmentationClass[Aug]",
    "coco": "annotations/instances_{train,val}2017.json, train2017/*.jpg, val2017/*.jpg",
    "cityscapes": "leftImg8bit/{train,val}/<city>/*.png, gtFine/{train,val}/<city>/*_gtFine_labelTrainIds.png",
}


def _with(protocol: Protocol, changes: dict[str, Any]) -> Protocol:
    from dataclasses import replace

    return replace(protocol, settings=override(protocol.settings, changes, protocol.name))


def load(name: str, out: Path | None, sets: dict[str, dict[str, Any]]) -> Suite:
    """The suite called `name`, or read from a TOML file; `sets` are overrides from the command line, which win."""
    if name.endswith(".toml"):
        suite = _read(Path(name))
    elif name == "paper":
        suite = Suite("paper", "paper", Path(os.environ.get("ZOO_DATA", "data")), beside=("random",))
    elif name in BUILT_IN:
        quick = ORDER[:9] if name == "smoke" else None  # detection and segmentation would double its 90 s
        suite = Suite(name, name, home(name, out) / "data", protocols=quick, beside=("random",))
    else:
        raise unknown("suite", name, [*BUILT_IN, "FILE.toml"])
    merged = {key: suite.overrides.get(key, {}) | sets.get(key, {}) for key in {*suite.overrides, *sets}}
    suite = Suite(**{**vars(suite), "overrides": merged})
    _check_names(suite)
    return suite


def home(suite: str, out: Path | None) -> Path:
    """Folder of everything a suite produces."""
    return out or Path("runs") / Path(suite).stem


def _check_names(suite: Suite) -> None:
    known = {"pretrain", *folder.names("pretrain.methods"), *catalogue(suite.variant)}
    for name in suite.overrides:
        if name not in known:
            raise unknown("model or protocol", name, known, f"the settings of suite {suite.name}")


def _read(path: Path) -> Suite:
    """A user's suite: `variant`, `images`, `[data]`, and a table of settings per model or protocol."""
    try:
        text = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Fault("bad-config", f"suite file {path} is not there") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Fault("bad-config", f"{path} is not valid TOML: {error}") from None
    here = path.parent
    head = {key: value for key, value in text.items() if not isinstance(value, dict)}
    for key in head:
        if key not in ("variant", "images", "protocols", "beside"):
            raise unknown("key", key, ["variant", "images", "protocols", "beside", "[data]"], str(path))
    if head.get("variant", "paper") not in BUILT_IN:
        raise unknown("variant", str(head["variant"]), BUILT_IN, str(path))
    images = head.get("images", "imagenet/train")
    data = {name: here / folder_ for name, folder_ in text.get("data", {}).items()}
    for name in data:
        folder_names = {*folder.names("pretrain.datasets"), *WHOLE} - {"folder", "digits"}
        if name not in folder_names:
            raise unknown("data set", name, folder_names, f"{path} [data]")
    return Suite(
        name=path.stem,
        variant=head.get("variant", "paper"),
        root=here,
        data=data,
        images=images if images.count("/") == 1 and images.partition("/")[0] in data else here / images,
        overrides={key: _flat(value) for key, value in text.items() if isinstance(value, dict) and key != "data"},
        protocols=tuple(head["protocols"]) if "protocols" in head else None,
        beside=tuple(head.get("beside", ("random",))),
    )


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def parse_sets(pairs: list[str]) -> dict[str, dict[str, Any]]:
    """['odc.lr=0.1', ...] by model or protocol. Raises Fault on a pair without a name or a value."""
    found: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        name, dot, path = key.partition(".")
        if not (equals and dot and path):
            raise Fault("bad-config", f"--set expects NAME.FIELD=VALUE, for instance odc.epochs=10, got '{pair}'")
        found.setdefault(name, {})[path] = value
    return found


def drawn(suite: Suite) -> bool:
    """Whether the data of the suite exist; only the embedded scenes can be missing and still be had."""
    return suite.name not in ("demo", "smoke") or (suite.root / "manifest.json").exists()


def draw(suite: Suite) -> None:
    """Writes the embedded scenes of the demo and smoke suites where they are not there yet."""
    if suite.name in ("demo", "smoke"):
        from pretrain.datasets import digits

        digits.write(suite.root, getattr(digits, suite.variant.upper()))
