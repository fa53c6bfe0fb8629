"""A load report as lines for people, and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pretrain.base.faults import printable
from pretrain.base.settings import plain
from pretrain.nets.formats.contract import Loaded

COUNTER = "num_batches_tracked"
SHOWN = 8  # groups of ignored keys


def report(loaded: Loaded, everything: bool = False) -> Iterator[str]:
    """Lines; everything: with the name of every missing and unknown tensor, and the fingerprint."""
    said = loaded.report
    place = f" in '{printable(said.within, 80)}'" if said.within else ""
    behind = f" behind '{printable(said.prefix, 80)}'" if said.prefix else ""
    yield f"layout {said.layout}{place}{behind}: {loaded.arch}, weights {loaded.sha256[:12]}"
    counts = (f"{len(said.matched)} of {said.expected} tensors matched", f"{len(said.missing)} missing")
    more = (
        f"{len(said.wrong)} of another shape",
        f"{len(said.unexpected)} unknown",
        f"{len(said.ignored)} ignored",
    )
    yield "  " + ", ".join((*counts, *more))
    if said.ignored:
        yield f"  ignored: {_groups(tuple(name.removeprefix(said.within + '.') for name in said.ignored))}"
    for word, names in (("missing", said.missing), ("other shape", said.wrong), ("unknown", said.unexpected)):
        shown = names if everything else names[:SHOWN]
        yield from (f"  {word}: {printable(name, 120)}" for name in shown)
    yield from (f"  assumed: {line}" for line in said.assumed)
    if everything:
        length, *first = _numbers(loaded)
        yield f"  features of the probe images: mean length {length:.6g}, first {' '.join(f'{x:.5g}' for x in first)}"
    yield from (f"  warning: {line}" for line in said.warnings)


def body(loaded: Loaded) -> dict[str, Any]:
    """The whole report as JSON values; what is no finite number is null, which JSON lacks otherwise."""
    length, *first = (one if math.isfinite(one) else None for one in _numbers(loaded))
    return {
        **plain(loaded.report),
        "share": loaded.report.share,
        "arch": loaded.arch,
        "input": plain(loaded.input),
        "sha256": loaded.sha256,
        "features": {"mean_length": length, "first": first},
    }


def _numbers(loaded: Loaded) -> list[float]:
    """The fingerprint as one list, the length first."""
    from pretrain.nets.formats import sanity

    length, first = sanity.fingerprint(loaded.backbone)
    return [length, *first]


def _groups(names: tuple[str, ...]) -> str:
    """Keys by their first two words, with their number; batch counters as one."""
    counters = sum(name.endswith(COUNTER) for name in names)
    others = Counter(".".join(name.split(".")[:2]) for name in names if not name.endswith(COUNTER))
    counts = [("batch counters", counters)] * bool(counters) + others.most_common()
    shown = ", ".join(f"{printable(name, 60)} ({n})" for name, n in counts[:SHOWN])
    return shown + (f" and {len(counts) - SHOWN} groups more" if len(counts) > SHOWN else "")
