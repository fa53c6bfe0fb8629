"""`zoo.evaluate`: benchmarks of a module, a file or a model, by the same plan and into the same records as
`zoo run`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.contract.protocol import choose
from benchmarks.contract.result import Result, readable
from pretrain.base import files
from pretrain.base.faults import Fault, unknown
from pretrain.base.identity import digest
from pretrain.base.lease import lease
from pretrain.base.settings import build, plain
from pretrain.data import dataset
from pretrain.data.view import IMAGENET_MEAN, IMAGENET_STD
from pretrain.nets import checkpoint
from pretrain.nets.backbone import Backbone
from pretrain.nets.foreign import Foreign, foreign
from zoo import models
from zoo.jobs import benchmark
from zoo.jobs.place import Place
from zoo.jobs.record import recording
from zoo.plan.job import Job
from zoo.plan.planner import Planner
from zoo.request import Request, Trial
from zoo.store import Store
from zoo.suites import builtin
from zoo.suites.suite import Entry, Suite

Triple = tuple[float, float, float]
Settings = Mapping[str, Mapping[str, Any]]


def evaluate(
    model: nn.Module | str | Path,
    benchmarks: Sequence[str],
    *,
    suite: str = "demo",
    data: Mapping[str, str | Path] | None = None,
    home: str | Path | None = None,
    name: str = "",
    size: int = 224,
    resize: int | None = None,
    mean: Triple = IMAGENET_MEAN,
    std: Triple = IMAGENET_STD,
    settings: Settings | None = None,
    seed: int = 0,
) -> list[Result]:
    """A record per benchmark, in their order; what has been computed before is read, not computed again.

    model: a module that maps images (B, 3, H, W) to features (B, D) or a map (B, C, H', W'), of which a copy
    is evaluated, frozen; a checkpoint of any known layout; or the name of a model that is in `home`.
    benchmarks: names as `zoo list` has them; suite: demo, smoke, cifar, paper or a TOML file; data: instead,
    the folder of each data set that they read, with the settings of the paper; home: folder of results, by
    default runs/<suite>, or runs/data. name: of the model in the records, by default the file's or the
    class's. size, resize, mean, std: how pixels reach a module. settings: by benchmark, such as
    {"imagenet_knn": {"ks": [5]}}.

    A record whose status is `failed` says why and has no numbers.

    Raises:
        Fault: bad-config for unknown names, data-missing, dependency-missing, and what a checkpoint's
            reader says.
    """
    used = _suite(suite, data, None if home is None else Path(home), settings or {})
    store = Store(builtin.home(used.name, None if home is None else Path(home)))
    given: Foreign | None = None
    if isinstance(model, nn.Module):
        own = _own(model)
        given = foreign(own, size=size, resize=resize, mean=mean, std=std, name=_named(model, name))
        entry: Entry = models.given(used, store, [given.name], _passport(given, store))[0]
    else:
        entry = _entry(model, used, store, name)
    protocols = {one.name: one for one in choose(used.catalogue(), list(benchmarks))}
    _drawn(used, store)
    asked = tuple(protocols[one] for one in dict.fromkeys(benchmarks))
    trials = (Trial(entry, seed, (seed,)),)
    planner = Planner(Request(used, store, trials, asked, frozenset([entry.name]), by_name=True))
    return _computed(planner, given)


def _computed(planner: Planner, given: Backbone | None) -> list[Result]:
    """The records of the plan's benchmarks. Raises Fault where one cannot be begun."""
    plan = planner.plan()
    pretraining, *jobs = plan.jobs
    if pretraining.state != "done" or (pretraining.weights is None and any(j.state != "done" for j in jobs)):
        name, why = pretraining.entry.name, pretraining.why or pretraining.note
        said = f"{why}; train it with `zoo run {name} --benchmarks none`, or name a checkpoint file"
        raise Fault("data-missing", f"model '{name}' has no weights with these settings: {said}")
    for job in jobs:
        if job.why is not None and job.state == "skip":
            raise job.why
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    request = planner.request
    place = Place(request.suite, request.store, planner.datasets, device, _quiet, given)
    return [_record(planner.judged_again(job, plan), place) for job in jobs]


def _record(job: Job, place: Place) -> Result:
    """The record of a benchmark, as it is or as it now becomes."""
    if not job.runs(again=False):
        if job.record is None:
            raise job.why or Fault("internal", f"{job.label}: {job.note}")
        return job.record
    with lease(place.store.lock(job.key)), recording(job, place.suite.name) as found:
        found.outcome = benchmark.run(job, place)
    assert job.path is not None
    return readable(job.path) or found.record


def _quiet(done: int, total: int, line: str) -> None:
    """Nobody is told."""


def _suite(suite: str, data: Mapping[str, str | Path] | None, home: Path | None, settings: Settings) -> Suite:
    """The suite with these settings, or one of the paper's settings on folders of the caller's."""
    changes = {name: dict(one) for name, one in settings.items()}
    if data is None:
        return builtin.load(suite, home, changes)
    for name in data:
        if name not in dataset.names():
            raise unknown("data set", name, dataset.names(), "data")
    folders = {name: Path(folder) for name, folder in data.items()}
    made = Suite(name="data", variant="paper", root=Path(), data=folders, overrides=changes)
    made.check_names()
    return made


def _drawn(suite: Suite, store: Store) -> None:
    """Draws the embedded data of a suite that has some, where they are not there yet."""
    if not suite.drawn():
        with lease(store.lock("data")):
            builtin.draw(suite)


def _entry(model: str | Path, suite: Suite, store: Store, name: str) -> Entry:
    """The model of a file or of a name."""
    path = Path(model)
    if path.is_file() or path.suffix or len(path.parts) > 1:
        return models.given(suite, store, [name or _plain(path.stem)], path)[0]
    return models.entries(suite, store, [str(model)])[0]


def _named(module: nn.Module, name: str) -> str:
    return name or _plain(type(module).__name__)


def _plain(text: str) -> str:
    """A text as a model's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:80] or "model"


def _own(module: nn.Module) -> nn.Module:
    """A copy of a module on the CPU, in eval mode. Its counters of batches are 0, as in a file of ours: they
    decide no feature.
    """
    own = copy.deepcopy(module).cpu().eval().requires_grad_(False)
    for name, buffer in own.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.zero_()
    return own


def _passport(module: Foreign, store: Store) -> Path:
    """A file that says of a module what a checkpoint's header says, without its weights: what records, keys
    and caches are made from.
    """
    from safetensors.torch import save_file

    identity = module.identity()
    path = store.weights / f"{digest(identity)}.safetensors"
    count = max(1, len(module.state_dict()))
    origin = {"recipe": module.name, "layout": "module"}
    body = {**identity, "sha256": identity["weights"], "tensors": count, "origin": origin}
    del body["weights"]
    meta = build(checkpoint.Meta, body, module.name)
    header = {"schema": checkpoint.SCHEMA, "meta": json.dumps(plain(meta), sort_keys=True)}
    files.write(path, lambda aside: save_file({"none": torch.zeros(1)}, aside, metadata=header))
    return path
