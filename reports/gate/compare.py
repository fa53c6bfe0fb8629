"""Records against a baseline: each number passes, fell, rose, moved, or cannot be compared, which is no pass.

`moved`: better than before on the very weights of the baseline. Training cannot explain that, so it fails: a
wrong crop or layer may well be better for an untrained network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from reports.gate.baseline import Baseline, Entry, Measured
from reports.records import PRETRAIN

State = Literal["pass", "regressed", "moved", "rose", "not comparable", "missing", "failed", "new"]
FAILING = frozenset({"regressed", "moved", "not comparable", "missing", "failed"})
WARNING = frozenset({"rose", "new"})
NOT_PASSED = 3  # exit code
WHY = {
    "regressed": "worse",
    "rose": "better than chance explains: find out why, then accept",
    "moved": "better on the same weights: the evaluation has changed; find out why, then accept",
}
SIGMAS = 3.0  # standard errors of the difference that chance may explain


@dataclass(frozen=True)
class Verdict:
    """What became of one number. expected, got: its values, None where there is none; tolerance: by which it
    may differ; why: in words, where it does not simply pass.
    """

    model: str
    protocol: str
    metric: str
    state: State
    expected: float | None = None
    got: float | None = None
    tolerance: float | None = None
    why: str = ""

    @property
    def name(self) -> str:
        """Model, protocol and metric in one word."""
        return f"{self.model}/{self.protocol}/{self.metric}"


def compare(baseline: Baseline, found: Measured) -> list[Verdict]:
    """A verdict per number of the baseline, then those that it does not know, in order of their names."""
    now = {entry.place: entry for entry in found.entries}
    known = {entry.place for entry in baseline.entries}
    verdicts = [_judged(entry, now.get(entry.place), baseline, found) for entry in baseline.entries]
    new = [
        Verdict(*place, "new", got=entry.value, why="not in the baseline")
        for place, entry in now.items()
        if place not in known
    ]
    return sorted(verdicts, key=lambda one: one.name) + sorted(new, key=lambda one: one.name)


def code(verdicts: Sequence[Verdict]) -> int:
    """Exit code: 0 where every number of the baseline was compared and none fell, else 3."""
    judged = any(verdict.state in ("pass", "rose") for verdict in verdicts)
    return 0 if judged and not any(v.state in FAILING for v in verdicts) else NOT_PASSED


def counts(verdicts: Sequence[Verdict]) -> str:
    """How many there are of each state, failing ones first."""
    found = Counter(verdict.state for verdict in verdicts)
    order: tuple[State, ...] = (
        *("regressed", "moved", "failed", "missing", "not comparable"),
        *("rose", "new", "pass"),
    )
    return ", ".join(f"{found[state]} {state}" for state in order if found[state])


def tolerance(old: Entry, new: Entry, floor: float) -> float:
    """What two means may differ by: three standard errors of their difference, and never less than the floor.

    The noise is the baseline's alone: a run that has become noisier must not widen its own tolerance. Of the
    same weights it is the floor: what varies from seed to seed is the weights, and these do not.
    """
    if _same_weights(old, new):
        return floor
    error = old.noise * sqrt(1 / len(old.seeds) + 1 / len(new.seeds))
    return max(floor, SIGMAS * error)


def _same_weights(old: Entry, new: Entry) -> bool:
    return bool(old.weights) and (old.weights, old.seeds) == (new.weights, new.seeds)


def _judged(old: Entry, new: Entry | None, baseline: Baseline, found: Measured) -> Verdict:
    for job in (old.protocol, PRETRAIN):
        if (why := found.failed.get((old.model, job))) is not None:
            return Verdict(*old.place, "failed", old.value, why=f"{job} {why}")
    if new is None:
        stale = (old.model, old.protocol) in found.stale
        why = "its records are of other weights; run it again" if stale else "no record of it"
        return Verdict(*old.place, "missing", old.value, why=why)
    if why := _incomparable(old, new):
        return Verdict(*old.place, "not comparable", old.value, new.value, why=why)
    return _measured(old, new, tolerance(old, new, baseline.floor(old)))


def _incomparable(old: Entry, new: Entry) -> str:
    """What differs besides the number; '' where nothing does."""
    parts = [
        ("protocol version", old.version, new.version),
        ("data fingerprint", old.data, new.data),
        ("settings of the protocol", old.rule, new.rule),
        ("reported on", (old.split, old.n), (new.split, new.n)),
        ("unit", (old.unit, old.better), (new.unit, new.better)),
    ]
    return "; ".join(f"another {name}: {was} -> {now}" for name, was, now in parts if was != now)


def _measured(old: Entry, new: Entry, allowed: float) -> Verdict:
    """The verdict on two numbers that compare; where neither direction is better, any change fails."""
    change = new.value - old.value
    if old.better == "lower":
        change = -change
    state: State = "pass"
    if abs(change) > allowed:
        better: State = "moved" if _same_weights(old, new) else "rose"
        state = better if change > 0 and old.better else "regressed"
    return Verdict(*old.place, state, old.value, new.value, allowed, WHY.get(state, ""))
