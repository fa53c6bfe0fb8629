"""The suites that come with the zoo, and how any suite is found by the name or file that people type.

demo and smoke draw their own data; cifar and paper need the published data sets, below ZOO_DATA.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pretrain.base import files
from pretrain.base.faults import unknown
from pretrain.base.settings import changed
from zoo.suites import file
from zoo.suites.suite import FLOORS, Suite

BUILT_IN = ("demo", "smoke", "cifar", "paper")
PUBLISHED = {  # suite -> what it is pretrained on, and the protocols that it offers, None: all
    "paper": ("imagenet/train", None),
    "cifar": ("cifar10/train", ("cifar10_linear", "cifar10_knn", "cifar100_linear", "cifar100_knn")),
}
Overrides = dict[str, dict[str, Any]]


def load(name: str, out: Path | None, sets: Overrides) -> Suite:
    """The suite called `name`, or read from a TOML file; `sets`
    are overrides from the command line, which win.
    """
    if name.endswith(".toml"):
        suite = file.read(Path(name))
    elif name in PUBLISHED:
        images, protocols = PUBLISHED[name]
        suite = Suite(
            name=name,
            variant=name,
            root=Path(os.environ.get("ZOO_DATA", "data")),
            images=images,
            protocols=protocols,
            beside=FLOORS,
            published=True,
        )
    elif name in BUILT_IN:
        suite = Suite(name=name, variant=name, root=home(name, out) / "data", beside=FLOORS, embedded=name)
    else:
        raise unknown("suite", name, [*BUILT_IN, "FILE.toml"])
    merged = {key: suite.overrides.get(key, {}) | sets.get(key, {}) for key in {*suite.overrides, *sets}}
    suite = changed(suite, overrides=merged)
    suite.check_names()
    return suite


def home(suite: str, out: Path | None) -> Path:
    """Folder of everything a suite produces. Raises Fault where weights could not be read there."""
    place = out or Path("runs") / Path(suite).stem
    files.require_text(place.absolute())
    return place


def draw(suite: Suite) -> None:
    """Writes the embedded scenes of a suite that has some, where they are not there yet."""
    if suite.embedded:
        from pretrain.data.embedded import digits

        digits.write(suite.root, digits.SIZES[suite.embedded])
