"""What a pretraining has written beside its record, a line per epoch: metrics.jsonl as curves over epochs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reports.html.chart import Series

NAME = "metrics.jsonl"
LARGEST = 64 << 20  # bytes that are read of a file
HUGE = 1e300  # what lies beyond, and what is not finite, is no number
MOST = 160  # points of a drawn curve
Curve = dict[float, float]  # value by epoch


def read(path: Path, wanted: Iterable[str]) -> dict[str, Curve]:
    """Every finite number of a file that has a wanted name, by epoch.

    Of an epoch that was trained again the last counts. Lines that are no JSON objects are left out; no file:
    no curves.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST).decode("utf-8", "replace")
    except OSError:
        return {}
    curves: dict[str, Curve] = {}
    for line in text.splitlines():
        body = _line(line)
        epoch = _number(body.get("epoch"))
        for name in wanted if epoch is not None else ():
            if (number := _number(body.get(name))) is not None:
                curves.setdefault(name, {})[epoch or 0.0] = number
    return curves


def _line(text: str) -> dict[str, object]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _number(value: object) -> float | None:
    if type(value) not in (int, float) or not -HUGE < value < HUGE:  # type: ignore[operator]
        return None
    return float(value)  # type: ignore[arg-type]


def series(label: str, curves: Sequence[Curve], quiet: bool = False) -> Series | None:
    """The mean over seeds where all of them have an epoch, with the range between lowest and highest."""
    shared = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    if not shared:
        return None
    kept = thinned(shared)
    points = [(epoch, sum([curve[epoch] for curve in curves]) / len(curves)) for epoch in kept]
    ranges = [(min(c[e] for c in curves), max(c[e] for c in curves)) for e in kept]
    return Series(label, points, ranges if len(curves) > 1 else [], quiet)


def thinned(epochs: Sequence[float]) -> list[float]:
    """At most MOST of them, evenly, the first and the last among them."""
    if len(epochs) <= MOST:
        return list(epochs)
    step = (len(epochs) - 1) / (MOST - 1)
    return [epochs[round(i * step)] for i in range(MOST)]


def group(runs: Sequence[Mapping[str, Curve]], wanted: Mapping[str, str]) -> list[Series]:
    """The wanted curves that every run has, by label; those of chance are quiet."""
    found = (
        series(label, [run[name] for run in runs], name.startswith("chance"))
        for name, label in wanted.items()
        if runs and all(name in run for run in runs)
    )
    return [one for one in found if one is not None]
