"""The zoo as a library. Everything below is loaded when it is first used; `import zoo` alone costs nothing.

load         a backbone by name or file, with its `.transform`
evaluate     benchmarks of a module, file or model: a list of records
records      the records of a folder as a pandas.DataFrame
fit          pretrains by a recipe on a folder of images
kmeans       spherical or Euclidean, as every method here uses it
linear_svm   one-against-all squared-hinge SVMs over a grid of costs: AP per class
Fault        what can go wrong for reasons of the caller's: `.reason`, and a sentence
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pretrain.base.faults import Fault as Fault
    from reports.records import records as records
    from zoo.library.backbones import load as load
    from zoo.library.evaluation import evaluate as evaluate
    from zoo.library.numbers import kmeans as kmeans
    from zoo.library.numbers import linear_svm as linear_svm
    from zoo.library.training import fit as fit

_PLACES = {
    "Fault": "pretrain.base.faults",
    "evaluate": "zoo.library.evaluation",
    "fit": "zoo.library.training",
    "kmeans": "zoo.library.numbers",
    "linear_svm": "zoo.library.numbers",
    "load": "zoo.library.backbones",
    "records": "reports.records",
}
__all__ = ["Fault", "evaluate", "fit", "kmeans", "linear_svm", "load", "records"]


def __getattr__(name: str) -> Any:
    """What is exported, from where it is defined."""
    if name not in _PLACES:
        raise AttributeError(f"module 'zoo' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
