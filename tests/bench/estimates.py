"""The tables of docs/performance.md that say how long the published recipes and the paper suite take on a
machine, by arithmetic: python -m tests.bench.estimates --help. Nothing is measured here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from benchmarks.contract.protocol import catalogue
from pretrain.base import registry
from pretrain.data.view import Input
from zoo.plan import devices, hours
from zoo.plan.devices import Machine
from zoo.plan.hours import Estimate
from zoo.show.hours import assumptions, spent
from zoo.suites.suite import METHODS, recipes

GIVEN = Input(size=224, resize=256)  # of the backbone that benchmarks evaluate
ARCH = "resnet50"


def rows(machine: Machine) -> Iterator[tuple[str, str, Estimate]]:
    """Kind, name and estimate of every published recipe that trains, then of every benchmark of the suite."""
    images = hours.published("imagenet/train")
    assert images is not None
    for method in registry.names(METHODS):
        for recipe in recipes(method).get("paper", ()):
            found = hours.pretraining(recipe, images, machine)
            if found is not None and recipe.epochs:
                yield method, recipe.name, found
    for protocol in catalogue("paper").values():
        on = {role: one for role, at in protocol.data.items() if (one := hours.published(at)) is not None}
        found = hours.benchmark(protocol, ARCH, GIVEN, on, machine)
        if found is not None:
            yield "benchmark", protocol.name, found


def line(kind: str, name: str, found: Estimate, machine: Machine, price: float) -> str:
    """A row of a markdown table."""
    paid = found.seconds / 3600 * machine.count
    parts = " + ".join(f"{part} {spent(took)}" for part, took in found.parts.items() if took > 0.5)
    return f"| {kind} | {name} | {spent(found.seconds)} | {paid:,.1f} | {paid * price:,.0f} | {found.binds} | {parts} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on", default="8xh100", help=", ".join(devices.DEVICES))
    parser.add_argument("--cores", type=int, default=0, help="of the machine; 0: as is usual for it")
    parser.add_argument("--price", type=float, default=2.5, help="euros of a device for an hour")
    args = parser.parse_args()
    machine = devices.named(args.on, args.cores)
    print(
        f"| | recipe or benchmark | {machine.name} | device hours | euros at {args.price:.2f} | binds | of which |"
    )
    print("|---|---|---|---|---|---|---|")
    suite = 0.0
    for kind, name, found in rows(machine):
        print(line(kind, name, found, machine, args.price))
        suite += found.seconds if kind == "benchmark" else 0.0
    paid = suite / 3600 * machine.count
    print(f"| | all benchmarks of one model | {spent(suite)} | {paid:,.1f} | {paid * args.price:,.0f} | | |")
    print("\n" + "\n".join(assumptions(machine)))


if __name__ == "__main__":
    main()
