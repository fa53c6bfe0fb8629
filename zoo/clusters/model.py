"""A model by the words that people have for it: a name in a folder of results, or a file of any layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contract.result import Result
from pretrain.base.faults import Fault, unknown
from pretrain.base.settings import plain
from pretrain.nets import checkpoint
from pretrain.nets.formats.ours import is_ours
from zoo.plan.counted import of_suite
from zoo.store import GIVEN, WEIGHTS, Store
from zoo.weights.source import local

if TYPE_CHECKING:
    from pretrain.nets.backbone import Backbone
    from pretrain.nets.clusters import Clustering

KEPT = "clusters.safetensors"


@dataclass(frozen=True)
class Model:
    """A backbone in eval mode on the CPU. identity: what of its weights decides a number; clustering: what
    its method left beside it, None where there is nothing; kept: the digest of that.
    """

    path: Path
    backbone: Backbone
    identity: dict[str, Any]
    clustering: Clustering | None
    kept: str = ""


def find(model: str | Path, home: Path, seed: int = 0, suite: str = "demo") -> Model:
    """The model of a name or file. Raises Fault as `weights` and the readers of checkpoints do."""
    path = weights(model, home, seed, suite)
    backbone, identity = opened(path)
    return Model(path, backbone, identity, *_beside(path, str(identity["weights"])))


def weights(model: str | Path, home: Path, seed: int = 0, suite: str = "demo") -> Path:
    """The file of a model: itself where it is one or has an address, else that of a pretraining of this name
    and seed in a folder of results: the one that the suite plans, or else the newest. Raises Fault
    (data-missing, bad-config) where there is none, and as `source.local` does.
    """
    path = local(model)
    if path.is_file():
        return path
    store, name = Store(home), str(model)
    models = store.models()
    known = [known.name for known in models]
    if name not in known and (path.suffix or len(path.parts) > 1):  # names may have a dot, too
        raise Fault("data-missing", f"checkpoint {path} is not there")
    found = _trained(store, name, seed, suite) or _given(store, name)
    if found is not None:
        return found
    if not known:
        said = f"expected '{name}' or another model, found none; run `zoo run {name}` with --out {home} first"
        raise Fault("data-missing", f"{home}: {said}, or name a checkpoint file")
    if (name, True) in {(one.name, one.given) for one in models}:
        said = (
            f"no copy of the file that was evaluated under this name is in {home}; name its checkpoint file"
        )
        raise Fault("data-missing", f"model '{name}': {said}")
    if name in known:
        said = (
            f"its weights of seed {seed} are not in {home}; train them with `zoo run {name} --seeds {seed}`"
        )
        raise Fault("data-missing", f"model '{name}': {said}, or name its checkpoint file")
    raise unknown("model", name, known, str(home))


def _trained(store: Store, name: str, seed: int, suite: str) -> Path | None:
    found = {
        folder: record.time.get("end", "")
        for folder, record in store.pretrainings()
        if _is(record, name) and record.seed == seed and record.status == "ok" and (folder / WEIGHTS).exists()
    }
    planned = {path.parent for path in of_suite(suite, store.home)} if len(found) > 1 else set()
    best = max(found, key=lambda folder: (folder in planned, found[folder], folder), default=None)
    return best and best / WEIGHTS


def _is(record: Result, name: str) -> bool:
    return name in (record.model.get("name"), record.model.get("recipe"))


def _given(store: Store, name: str) -> Path | None:
    """The copy of a file of the user's that was last evaluated under this name, where one was made: the same
    tensors behind another preprocessing are another copy.
    """
    records = [record for _, record in store.results(name) if record.model.get("method") == GIVEN]
    known = [record for record in records if record.identity.get("weights")]  # a failed one may know none
    newest = max(known, key=lambda record: record.time.get("end", ""), default=None)
    if newest is None:
        return None
    files = sorted(store.weights.glob("*.safetensors"))
    return next((path for path in files if _same(checkpoint.describe(path), newest)), None)


def _same(meta: checkpoint.Meta, record: Result) -> bool:
    return all(record.identity.get(key) == value for key, value in meta.identity().items())


def opened(path: Path) -> tuple[Backbone, dict[str, Any]]:
    """The backbone of a file of any layout, and its identity. Raises Fault."""
    if is_ours(path):
        return checkpoint.load(path), checkpoint.describe(path).identity()
    from pretrain.nets.formats.reading import read

    loaded = read(path)
    identity = {"weights": loaded.sha256, "arch": loaded.arch, "input": plain(loaded.backbone.input)}
    return loaded.backbone.eval(), identity


def _beside(path: Path, digest: str) -> tuple[Clustering | None, str]:
    """The clusters beside a weights file with their digest, None where there are none. Raises Fault where
    they are of others.
    """
    place = path.with_name(KEPT)
    if not place.exists():
        return None, ""
    from pretrain.nets import clusters

    if clusters.describe(place).backbone == digest:
        meta, clustering = clusters.load(place)
        return clustering, meta.sha256
    if path.name != WEIGHTS:  # a file that happens to lie in a model's folder
        return None, ""
    said = f"it belongs to other weights than {path}; delete it, or give --clusters K"
    raise Fault("weights-mismatch", f"{place}: {said}")
