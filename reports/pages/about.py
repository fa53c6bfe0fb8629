"""What is said of a method by hand: its paper in our own words, and the notes that the pages share."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from pretrain.base import registry
from pretrain.base.faults import Fault
from reports.records import GIVEN

FOLDER = Path(__file__).parents[1] / "methods"
PAGE = "page.toml"  # of a method in a folder of the user's
MODELS = (
    "All models stand in [model_zoo.md]({zoo}). Numbers come from records: every cell links to its own, or says "
    "why it is empty. The best of a column is bold, small figures are differences to the untrained network, and "
    "grey ones (in italics where a page has no colours) were measured by another rule."
)
SECTIONS = {
    "Detection": "Two tasks: **Pascal VOC 2007 + 2012** and **COCO2017**, by the protocols that MoCo set up. The "
    "whole network is fine-tuned.",
    "Segmentation": "Two tasks: **Pascal VOC 2012 + Aug** and **Cityscapes**, by the protocols of MMSegmentation. "
    "The whole network is fine-tuned.",
}
NOTES = {
    "Semi-Supervised Classification": (
        "Necks and heads are left out: the backbone alone gets a linear classifier, and everything is fine-tuned.",
        "With 1 % of the labels the learning rate decides much. Nine settings are tried: base rates of 0.1, 0.01 "
        "and 0.001, and multipliers of 1, 10 and 100 for the classifier; the best is shown and named, as in "
        "`head10_steplr1e-1`.",
        "cuDNN runs in its deterministic mode.",
    ),
}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class About:
    """name: of the page; title, url: of the paper; abstract: ours; bibtex: of the paper."""

    name: str
    title: str = ""
    url: str = ""
    abstract: str
    bibtex: str = ""


def about(method: str) -> About:
    """What a method's page says of it; of one without a text, its title and summary. Raises Fault on a text
    that cannot be read.
    """
    try:
        module = registry.load("pretrain.methods", method, "recipes")
    except Fault:
        gone = "Its method is not in this zoo now; ZOO_PLUGINS names the folder of one that lies elsewhere."
        given = "Weights that were given as a file."
        return About(name=method, abstract=given if method in (GIVEN, "") else gone)
    own = Path(str(module.__file__)).parent / PAGE
    for path in (own, FOLDER / f"{method}.toml"):
        if path.is_file():
            return _read(path)
    return About(name=module.TITLE, abstract=module.SUMMARY)


def _read(path: Path) -> About:
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
        return About(**{key: value.strip() for key, value in body.items()})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise Fault("data-corrupt", f"{path} is no text of a method: {error}") from error
