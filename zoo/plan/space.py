"""How much disk space the jobs of a plan will take, roughly and rather too much. No torch here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.contract.protocol import Protocol
from benchmarks.protocols.semi_supervised.protocol import SemiSettings
from benchmarks.solvers.training import Training
from pretrain.base.faults import Fault
from zoo.plan.datasets import Datasets
from zoo.plan.job import Job, Plan
from zoo.suites.suite import Trained

# Parameters of a backbone with its projection and head, in millions; a network that is not here counts as a
# ResNet-50 with the head of ten thousand clusters.
MILLIONS = {
    "resnet50": 36,
    "resnet50w2": 125,
    "resnet50w4": 450,
    "resnet101": 47,
    "resnet34": 26,
    "resnet18": 16,
    "resnet18_small": 16,
    "resnet10_half": 2,
    "resnet10_narrow": 1,
    "alexnet": 110,
    "vgg16_bn": 180,
    "pixels": 0,
}
COPIES = 2  # of a state: while one is written, the last one stays
FINE_TUNED = 6  # networks of a detector: its weights, momenta and head, twice, and a best one
MAPS = 5  # that heads are on, beside two averages
AVERAGE = 2048  # values of an average, as of a ResNet-50


def sentence(plan: Plan, datasets: Datasets, again: bool = False) -> str:
    """What the plan will write and what is free; '' where nothing is to be done."""
    wanted, home = needed(plan, datasets, again), plan.request.store.home
    if not wanted:
        return ""
    return f"about {_shown(wanted)} will be written to {home}, {_shown(free(home))} are free"


def short(plan: Plan, datasets: Datasets, again: bool = False) -> bool:
    """Whether the plan may need more than there is."""
    return needed(plan, datasets, again) > free(plan.request.store.home)


def needed(plan: Plan, datasets: Datasets, again: bool = False) -> int:
    """Bytes that the jobs to be done will write; features of the same images of the same model count once."""
    total, features = 0, dict[tuple[str, int, str], int]()
    for job in plan:
        if job.state == "skip" or (job.state == "done" and not (again and job.runs(again))):
            continue
        if job.protocol is None:
            total += pretraining(job, datasets)
            continue
        for reference, size in _features(job.protocol, datasets):
            place = (job.entry.name, job.model_seed, reference)
            features[place] = max(features.get(place, 0), size)
        total += evaluating(job, job.protocol, datasets)
    return total + sum(features.values())


def free(folder: Path) -> int:
    """Bytes free where a folder is or will be."""
    return shutil.disk_usage(
        next(path for path in (folder, *folder.absolute().parents) if path.exists())
    ).free


def pretraining(job: Job, datasets: Datasets) -> int:
    """Bytes of a training's states and of the backbone that it leaves; 0 for weights that were given."""
    if not isinstance(job.entry, Trained):
        return 0
    images = 0
    with suppress(Fault):
        images = datasets.identity(datasets.suite.pretrained_on).images
    recipe, weights = job.entry.recipe, _weights(job)
    networks = 3 if recipe.taught() else 2  # weights, momenta, and a teacher where there is one
    return weights + COPIES * (networks * weights + recipe.kept(images))


def evaluating(job: Job, protocol: Protocol, datasets: Datasets) -> int:
    """Bytes of the states of what a benchmark trains."""
    settings = protocol.settings
    if isinstance(settings, SemiSettings):  # every setting of the grid has a state, and one is being written
        tried = len(settings.lrs) * len(settings.head_multipliers)
        return 2 * _weights(job) * (tried + 1)
    if isinstance(settings, Training):  # weights and momenta of heads
        classes = 0
        with suppress(Fault):
            classes = datasets.identity(protocol.data["train"]).classes
        return COPIES * 2 * 4 * classes * (MAPS * settings.pooled + 2 * AVERAGE)
    return 0 if protocol.frozen else FINE_TUNED * _weights(job)


def _weights(job: Job) -> int:
    arch = job.entry.recipe.arch if isinstance(job.entry, Trained) else ""
    return MILLIONS.get(arch, MILLIONS["resnet50"]) * 4_000_000


def _features(protocol: Protocol, datasets: Datasets) -> Iterator[tuple[str, int]]:
    """Bytes of what is kept of each split that a benchmark reads, as far as they are there."""
    for reference in protocol.data.values():
        with suppress(Fault):
            yield reference, protocol.kept(protocol.settings) * datasets.identity(reference).images


def _shown(size: int) -> str:
    gib = size / 2**30
    return f"{gib:.1f} GiB" if gib >= 0.1 else f"{size / 2**20:.0f} MiB"
