"""A baseline: the numbers that a zoo is held to, in a JSON file that is committed.

{"schema": "zoo.baseline/1", "floors": {"%": 0.5, "": 0.01, "top1": 1.0},
 "entries": [{"model", "protocol", "metric", "version", "rule", "data", "unit", "better",
              "value", "noise", "seeds", "split", "n", "weights"}]}

value: the mean over seeds, unrounded; noise: what was measured of it, see `noise`; rule: digest of all that
decides the number, but for versions of packages: those are what a gate is to compare across. weights: digest
of the weights of all seeds. floors: the least tolerance, by name of a metric, else of its protocol, else by
its unit; edited by hand, kept when a baseline is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from benchmarks.contract.result import Result
from benchmarks.contract.score import Better, Number, Score
from pretrain.base import files
from pretrain.base.faults import LONGEST, Fault, printable
from pretrain.base.identity import digest
from reports.damaged import WORD as DAMAGED
from reports.damaged import Damaged
from reports.records import PRETRAIN, Kept, current, fingerprint, rule, seeds, trial

SCHEMA: Literal["zoo.baseline/1"] = "zoo.baseline/1"
FLOORS = {"%": 0.5, "": 0.01}  # points of a percentage; anything else
_RULES = ConfigDict(extra="forbid", allow_inf_nan=False)


@checked(frozen=True, kw_only=True, config=_RULES)
class Entry:
    """One number of one model. seeds: one per record whose mean it is; noise: sample standard deviation over
    them, or of a single seed's own repeats; 0 where neither was measured, and of several seeds never less
    than that of all numbers of the record together; weights: '' where records do not say.
    """

    model: str
    protocol: str
    metric: str
    version: int
    rule: str
    data: str
    unit: str
    better: Better
    value: Number
    noise: Number
    seeds: tuple[int, ...]
    split: str
    n: int
    weights: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """Model, protocol and metric."""
        return self.model, self.protocol, self.metric


@checked(frozen=True, kw_only=True, config=_RULES)
class Baseline:
    """Entries, and the least tolerances."""

    schema: Literal["zoo.baseline/1"] = SCHEMA
    floors: dict[str, float]
    entries: tuple[Entry, ...]

    def floor(self, entry: Entry) -> float:
        """The least tolerance of a number: its metric's, else its protocol's, else its unit's."""
        general = FLOORS.get(entry.unit, FLOORS[""])
        names = (entry.metric, entry.protocol, entry.unit, "")
        return next((self.floors[name] for name in names if name in self.floors), general)


@dataclass(frozen=True)
class Measured:
    """What records say: entries, and why others of them hold no number, by model and protocol; stale: those
    that have records of other weights alone.
    """

    entries: tuple[Entry, ...]
    failed: Mapping[tuple[str, str], str]
    stale: Set[tuple[str, str]] = frozenset()


def measured(records: Kept, planned: Set[Path] = frozenset(), damaged: Sequence[Damaged] = ()) -> Measured:
    """The numbers of the newest records of every trial, those planned before others.

    damaged: records of the same home that cannot be read: what they are of has failed.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    failed = {(one.model, one.protocol): f"{DAMAGED}: {one.why}" for one in damaged if one.model}
    counted = current(records, planned)
    for _, record in counted:
        place = str(record.model.get("name", "")), str(record.protocol.get("name", ""))
        if record.status != "ok":
            said = f"{seeds(record.trained, record.seed)} {record.status}: {record.reason}: {record.message}"
            failed[place] = printable(" ".join(said.split()), LONGEST)  # others' words, in one line
        elif place[1] != PRETRAIN:
            groups.setdefault(place, []).append(record)
    found = [entry for place, group in sorted(groups.items()) for entry in _entries(place, group)]
    stale = {trial(r)[:2] for _, r in records} - {trial(r)[:2] for _, r in counted}
    return Measured(tuple(found), failed, stale)


def _entries(place: tuple[str, str], records: Sequence[Result]) -> list[Entry]:
    """A number per metric that all seeds have."""
    names = dict.fromkeys(score.name for record in records for score in record.metrics)
    made = []
    for name in names:
        scores = [score for record in records if (score := record.score(name)) is not None]
        if len(scores) == len(records):
            made.append(_entry(place, name, records, scores))
    return _pooled(made) if len(records) > 1 else made


def _pooled(entries: Sequence[Entry]) -> list[Entry]:
    """The same, none with less noise than the numbers of its record have together, by unit.

    Three seeds often agree by chance in one of twenty numbers, and its tolerance would be next to nothing.
    """
    together = {
        unit: sqrt(fmean(entry.noise**2 for entry in entries if entry.unit == unit))
        for unit in {entry.unit for entry in entries}
    }
    return [replace(entry, noise=max(entry.noise, together[entry.unit])) for entry in entries]


def _entry(place: tuple[str, str], name: str, records: Sequence[Result], scores: Sequence[Score]) -> Entry:
    first, score = records[0], scores[0]
    return Entry(
        model=place[0],
        protocol=place[1],
        metric=name,
        version=int(first.protocol.get("version") or 0),
        rule=" ".join(sorted({rule(record) for record in records})),
        data=" | ".join(sorted({fingerprint(record) for record in records})),
        unit=score.unit,
        better=score.better,
        value=fmean(one.value for one in scores),
        noise=noise(scores, [record.identity.get("weights") or record.trained for record in records]),
        seeds=tuple(sorted(record.seed for record in records)),
        split=score.split,
        n=score.n,
        weights=_weights(records),
    )


def _weights(records: Sequence[Result]) -> str:
    """Digest of the weights behind the records of several seeds; '' where one does not say which.

    By the seeds of the records, as baselines always were; where several trainings share them, by both.
    """
    crossed = len({record.seed for record in records}) < len(records)
    known = {
        f"{record.trained}/{record.seed}" if crossed else str(record.seed): record.identity.get("weights")
        for record in records
    }
    return digest(known) if all(known.values()) else ""


def noise(scores: Sequence[Score], trainings: Sequence[object]) -> float:
    """The standard deviation between seeds, of one seed that between its own draws or restarts; else 0.

    trainings: whose weights each score is of. Where several are of one, so much that noise / sqrt(scores) is
    the error of their mean: evaluations of the same weights are no new trainings.
    """
    n, known = len(scores), dict.fromkeys(trainings)
    if 1 < len(known) < n:
        mean = fmean(score.value for score in scores)
        pairs = list(zip(trainings, scores, strict=True))
        away = [sum(score.value - mean for own, score in pairs if own == one) for one in known]
        return sqrt(sum(one**2 for one in away) / n * len(known) / (len(known) - 1))
    if n > 1:
        return stdev(score.value for score in scores)
    spread = scores[0].spread
    return spread.std if spread else 0.0


def read(path: Path) -> Baseline:
    """The baseline in a file. Raises Fault where there is none, or it is damaged or empty."""
    try:
        found = TypeAdapter(Baseline).validate_json(path.read_bytes())
    except FileNotFoundError:
        said = f"--baseline {path} is not there; the same command with --accept writes it"
        raise Fault("data-missing", said) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise Fault("data-corrupt", f"{path} is not a baseline: {said}; accept it anew") from error
    except (OSError, ValueError) as error:
        raise Fault("data-corrupt", f"{path} cannot be read as a baseline: {error}") from error
    if not found.entries:
        raise Fault("bad-config", f"{path} holds no number, so that nothing could fail; accept it anew")
    return found


def accept(path: Path, found: Measured) -> Baseline:
    """Writes what was measured as the new baseline; floors that stand in the old one are kept. Raises Fault
    where there is nothing to accept, or a job has failed.
    """
    for (model, protocol), why in found.failed.items():
        said = f"nothing is accepted: {model} {protocol} has no number ({why}); run it again"
        raise Fault("bad-config", said)
    if not found.entries:
        raise Fault("data-missing", "nothing is accepted: there is no record of a benchmark")
    floors = read(path).floors if path.exists() else FLOORS
    made = Baseline(floors=floors, entries=found.entries)
    files.write_text(path, json.dumps(_plain(made), indent=1) + "\n")
    return made


def _plain(baseline: Baseline) -> dict[str, Any]:
    return {
        "schema": baseline.schema,
        "floors": baseline.floors,
        "entries": [asdict(entry) for entry in baseline.entries],
    }
