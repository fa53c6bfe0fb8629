"""Every image of a suite's data, looked at: bad ones on stdout, a path a line, the reasons on stderr."""

from __future__ import annotations

import sys
from pathlib import Path

from pretrain.base.faults import Fault, printable
from pretrain.data.check import bad_images
from zoo.suites import builtin
from zoo.suites.suite import Reference, Suite


def show(name: str, out: Path | None) -> int:
    """0 where every image of every split that is there can be read, 1 otherwise, 4 without any split."""
    suite = builtin.load(name, out, {})
    told, looked = set[Path](), 0
    for reference in references(suite):
        try:
            split = suite.split(reference)
        except Fault as fault:
            print(f"{reference}: {fault}", file=sys.stderr)
            continue
        looked += 1
        found = 0
        for path, why in bad_images(split):
            if path not in told:  # of another split, too
                told.add(path)
                found += 1
                print(path.absolute(), flush=True)  # at once: what comes after it may take an hour
                print(f"  {printable(str(path))}: {why}", file=sys.stderr)
        print(f"{reference}: {len(split)} images, {found} bad", file=sys.stderr)
    return 4 if not looked else 1 if told else 0


def references(suite: Suite) -> list[Reference]:
    """Every split that pretraining and the benchmarks of a suite read."""
    read = [reference for protocol in suite.catalogue().values() for reference in protocol.data.values()]
    return list(dict.fromkeys([suite.pretrained_on, *read]))
