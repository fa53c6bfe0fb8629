"""How long the jobs of a plan will take, roughly: from records of this folder where the like has run before,
else from arithmetic. No torch here.

Arithmetic: operations over the rate that a device is taken to sustain, and pixels over those that a core
reads; the larger of the two binds. On a CPU both are done by the same cores, one after the other.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.result import Result
from pretrain.base.faults import Fault
from pretrain.base.settings import plain
from pretrain.data import dataset, image
from pretrain.data.view import Input
from pretrain.train.recipe import Recipe
from zoo.plan import work
from zoo.plan.datasets import Datasets
from zoo.plan.devices import CPU, DEVICES, Device, Machine, of_driver
from zoo.plan.job import Job, Plan
from zoo.plan.work import Images, Work
from zoo.suites.suite import Reference, Trained

# Core-seconds of a pixel, measured on 500-px photographs (docs/performance.md): of decoding, of a crop, and
# of its colours, where a CPU changes them.
DECODE, CUT, COLOUR = 6.4e-9, 12e-9, 40e-9
PHOTOGRAPH = 500 * 375.0  # px, where images are not here to be looked at
LOOKED_AT = 5  # headers of a split
Part = Literal["network", "clustering", "reading", "solver"]


class Estimate(NamedTuple):
    """parts: seconds of each; seconds: of the job; measured: whether a record of this folder says so."""

    seconds: float
    parts: Mapping[Part, float]
    measured: bool = False

    @property
    def binds(self) -> str:
        """What takes the time: the largest part; or a record, which does not say; or nothing does."""
        if self.measured:
            return "a record"
        return max(self.parts, key=lambda part: self.parts[part]) if self.seconds else "nothing"


def of_plan(plan: Plan, datasets: Datasets, machine: Machine) -> list[tuple[Job, Estimate | None]]:
    """Every job with its estimate, None where something of it is not known."""
    records = [record for _, record in plan.request.store.pretrainings()]
    records += [record for _, record in plan.request.store.results()]
    mine = [r for r in records if r.status == "ok" and _device(r) is machine.device]
    looked = dict[Reference, Images | None]()
    found = []
    for job in plan:
        for reference in _references(job, datasets):
            if reference not in looked:
                looked[reference] = images(datasets, reference)
        known = {reference: one for reference, one in looked.items() if one is not None}
        found.append(
            (
                job,
                _remembered(job, datasets, machine, mine, known) or _computed(job, datasets, machine, known),
            )
        )
    return found


def seconds(done: Work, machine: Machine) -> Estimate:
    """Of an amount of work on a machine."""
    device, count = machine.device, machine.count if done.together or machine.device.name == CPU else 1
    fp32 = device.flops("fp32") * count
    foreign = done.v100 * DEVICES["v100"].flops("fp32") / fp32
    on_cpu = device.name == CPU
    readers = count if on_cpu else max(1, machine.cores - machine.count) * count / machine.count
    parts: dict[Part, float] = {
        "network": done.network / (device.flops(done.precision) * count) + foreign,
        "clustering": done.products / fp32,
        "reading": (done.decoded * DECODE + done.cut * CUT + on_cpu * done.coloured * COLOUR) / readers,
        "solver": done.solver / min(machine.cores, work.SVM_CORES),
    }
    computed = parts["network"] + parts["clustering"]
    whole = computed + parts["reading"] if on_cpu else max(computed, parts["reading"])
    return Estimate(whole + parts["solver"], parts)


def images(datasets: Datasets, reference: Reference) -> Images | None:
    """Those of a split: as they lie here, else as they were published; None where neither is known."""
    with suppress(Fault):
        split = datasets.split(reference)
        places = (
            sorted({i * (len(split) - 1) // (LOOKED_AT - 1) for i in range(LOOKED_AT)}) if len(split) else []
        )
        sizes = [image.size(split, i) for i in places]
        return Images(len(split), statistics.median(w * h for w, h in sizes)) if sizes else None
    return published(str(reference)) if datasets.suite.published else None


def published(reference: str) -> Images | None:
    """A published split by `dataset/split`; None where its number of images is not declared."""
    name, _, part = reference.partition("/")
    count = dataset.find(name).counts.get(part)
    return None if count is None else Images(count, PHOTOGRAPH)


def pretraining(recipe: Recipe, on: Images, machine: Machine) -> Estimate | None:
    """Of a training by arithmetic; None where the architecture is not known."""
    done = work.pretraining(recipe, on)
    return None if done is None else seconds(done, machine)


def benchmark(
    protocol: Protocol, arch: str, given: Input, on: Mapping[str, Images], machine: Machine
) -> Estimate | None:
    """Of a benchmark by arithmetic; on: by role. None where something of it is not known."""
    if set(protocol.data) - set(on):
        return None
    done = work.benchmark(protocol, arch, given, dict(on))
    return None if done is None else seconds(done, machine)


def scaled(record: Result, recipe: Recipe, count: int, machine: Machine) -> Estimate:
    """Of a training of `count` images as a record of the like says: by its images a second and devices."""
    card = record.facts["card"]
    then = (record.env.get("threads") or 1) if machine.device.name == CPU else card["processes"]
    seen = recipe.epochs * recipe.per_epoch(count) * recipe.batch_size
    return Estimate(seen / card["images_per_s"] * then / machine.count, {}, measured=True)


def _references(job: Job, datasets: Datasets) -> Iterable[Reference]:
    return [datasets.suite.pretrained_on] if job.protocol is None else job.protocol.data.values()


def _computed(job: Job, datasets: Datasets, machine: Machine, known: Mapping[Any, Images]) -> Estimate | None:
    if job.protocol is None:
        if not isinstance(job.entry, Trained):
            return Estimate(0.0, {})
        if not job.entry.recipe.epochs:
            return Estimate(0.0, {})
        on = known.get(datasets.suite.pretrained_on)
        return None if on is None else pretraining(job.entry.recipe, on, machine)
    arch, given = _backbone(job)
    if given is None:
        return None
    roles = {role: known[reference] for role, reference in job.protocol.data.items() if reference in known}
    return benchmark(job.protocol, arch, given, roles, machine)


def _backbone(job: Job) -> tuple[str, Input | None]:
    """Architecture and input of the model that a benchmark evaluates, as far as they are known."""
    if isinstance(job.entry, Trained):
        return job.entry.recipe.arch, job.entry.recipe.input
    identity = job.identity or {}
    given = identity.get("input")
    return str(identity.get("arch", "")), Input(**given) if isinstance(given, dict) else None


def _remembered(
    job: Job, datasets: Datasets, machine: Machine, records: list[Result], known: Mapping[Any, Images]
) -> Estimate | None:
    """As the newest record of the like says; of a training, rather one of the same method."""
    newest = sorted(records, key=lambda record: record.time.get("end", ""))
    if job.protocol is not None:
        took = [r.cost["wall_s"] for r in newest if "wall_s" in r.cost and _same(r, job, datasets)]
        return Estimate(took[-1], {}, measured=True) if took else None
    on = known.get(datasets.suite.pretrained_on)
    if not isinstance(job.entry, Trained) or on is None or not job.entry.recipe.epochs:
        return None
    method, recipe = job.entry.method, job.entry.recipe
    alike = sorted((r for r in newest if _alike(r, recipe)), key=lambda r: r.model.get("method") == method)
    return scaled(alike[-1], recipe, on.count, machine) if alike else None


def _alike(record: Result, recipe: Recipe) -> bool:
    """Whether a training had the same architecture, input, views and precision, and says how fast it was."""
    theirs, mine = record.protocol.get("settings", {}), plain(recipe)
    card = record.facts.get("card") or {}
    if not card.get("images_per_s") or not card.get("processes"):
        return False
    same = all(theirs.get(name) == mine[name] for name in ("arch", "input", "precision"))
    return same and _crops(theirs.get("views", [])) == _crops(mine["views"])


def _crops(views: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    return [(view.get("size"), view.get("count")) for view in views]


def _same(record: Result, job: Job, datasets: Datasets) -> bool:
    """Whether a record is of the same benchmark on the same images, of a backbone of the same shape."""
    assert job.protocol is not None
    arch, given = _backbone(job)
    mine = (job.protocol.name, plain(job.protocol.settings), arch, None if given is None else given.size)
    size = (record.identity.get("input") or {}).get("size")
    theirs = (record.protocol.get("name"), record.protocol.get("settings"), record.model.get("arch"), size)
    if mine != theirs:
        return False
    data = record.identity.get("data") or {}
    with suppress(Fault):
        return all(
            data.get(role) == datasets.identity(reference).fingerprint
            for role, reference in job.protocol.data.items()
        )
    return False


def _device(record: Result) -> Device | None:
    """What a record was made on; a name that is no known card's is that of a processor."""
    said = str(record.env.get("device", ""))
    card = str((record.facts.get("card") or {}).get("device", said))
    found = of_driver(said) or of_driver(card)
    return found if found or "NVIDIA" in said else DEVICES[CPU]
