"""Carries out a pretraining in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.contract.score import Score
from benchmarks.contract.task import Outcome
from pretrain.base.faults import Fault
from pretrain.base.numerics import computes_bf16, numerics
from pretrain.base.settings import plain
from pretrain.data.split import Split
from pretrain.nets import checkpoint
from pretrain.train import loop, meter, model_card
from zoo.jobs.place import Place
from zoo.plan.job import Job
from zoo.show.progress import WARNING
from zoo.suites.suite import Trained
from zoo.trackers import mirror

SHOWN = ("loss", "changed", "nmi_previous", "ami_previous")  # of the last line of metrics.jsonl


def run(job: Job, place: Place) -> Outcome:
    """Trains a model, or goes on where it was left; its last figures, its card and the identity of its
    weights. Raises Fault where the images are not those that were planned.
    """
    assert isinstance(job.entry, Trained)
    assert job.folder is not None
    recipe = job.entry.recipe
    if recipe.epochs and recipe.precision == "bf16" and not computes_bf16(place.device.type):
        place.report(0, 0, f"{WARNING}trains in fp32, since this device has no bf16")
    empty = Split("no images", Path(), (), None, ())
    split = place.datasets.split(place.suite.pretrained_on) if recipe.epochs else empty
    _require_planned(job, place)
    with (
        numerics("fp32"),  # but for the network, see its recipe
        mirror.following(job.folder, job.label, plain(recipe), place.report) as report,
    ):
        path = loop.fit(job.entry.method, recipe, split, job.folder, job.seed, place.device, report)
    try:
        _require_planned(job, place)
    except Fault:  # trained on both, it is nothing to go on from
        (job.folder / "state.pt").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise
    card = model_card.card(job.entry.method, recipe, split, job.folder)
    last = meter.last(job.folder / "metrics.jsonl")
    scores = [
        Score(name, float(last[name]), len(split), "train", unit="", better="")
        for name in SHOWN
        if last.get(name) is not None
    ]
    facts: dict[str, Any] = {"last": last, "card": card, "weights": checkpoint.describe(path).identity()}
    if split.excluded:
        facts["images_left_out"] = {"train": split.excluded}
    if "warning" in last:
        facts["alarms"] = [last["warning"]]
    return Outcome(scores, facts)


def _require_planned(job: Job, place: Place) -> None:
    assert job.identity is not None
    if job.identity["data"] is not None:
        place.datasets.require_split_planned(job.identity["data"], place.suite.pretrained_on)
