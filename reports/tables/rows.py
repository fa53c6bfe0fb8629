"""Rows of tables from records alone: models in the order that is asked for, then by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from benchmarks.contract.result import Result
from reports.damaged import WORD as DAMAGED
from reports.damaged import Damaged
from reports.records import PRETRAIN, Kept, current, trial, weights_left
from reports.tables.cells import Found, Missing, Row
from reports.tables.seeds import FAILED, NOT_RUN, STALE, Standing, settled

WEIGHTS = "backbone.safetensors"
LAST = ("supervised", "random", "raw_pixels")  # reference rows stand below the others


def rows(records: Kept, planned: Set[Path] = frozenset(), damaged: Sequence[Damaged] = ()) -> list[Row]:
    """A row per model that records are of, from its newest records, those planned before others."""
    known = _by_model(records)
    made = [
        _row(model, mine, known[model], [one for one in damaged if one.model == model])
        for model, mine in _by_model(current(records, planned)).items()
    ]
    return sorted(made, key=lambda row: (LAST.index(row.model) if row.model in LAST else -1, row.model))


def _by_model(records: Kept) -> dict[str, list[tuple[Path, Result]]]:
    found: dict[str, list[tuple[Path, Result]]] = {}
    for path, record in records:
        found.setdefault(trial(record)[0], []).append((path, record))
    return found


def _row(model: str, counted: Kept, known: Kept, damaged: Sequence[Damaged]) -> Row:
    """The row of a model from its records that count, all that are known, and those that cannot be read."""
    names = dict.fromkeys(
        [trial(record)[1] for _, record in (*counted, *known)] + [one.protocol for one in damaged]
    )
    settled_by = {name: settled(list(_standings(name, counted, known, damaged))) for name in names}
    found = {name: one for name, (one, _) in settled_by.items()}
    if (why := untrained(found)) is not None:
        found = {name: one if name == PRETRAIN else why for name, one in found.items()}
    trained = next((one for one in counted if _trained(one[1])), None)
    first = trained or next((one for one in counted if trial(one[1])[1] == PRETRAIN), counted[0])
    weights = first[0].parent / WEIGHTS
    return Row(
        model,
        weights if weights.exists() else None,
        str(first[1].model.get("config", "")),
        found,
        {name: lacking for name, (_, lacking) in settled_by.items() if lacking},
        str(first[1].model.get("method", "")),
        trained[1] if trained else None,
    )


def untrained(found: Mapping[str, Found | Missing]) -> Missing | None:
    """What stands in place of a model's every number where a pretraining of it has failed, as in a plan."""
    of = found.get(PRETRAIN)
    if not isinstance(of, Missing) or of.word != FAILED:
        return None
    return Missing(FAILED, f"pretraining failed: {of.why}")


def _trained(record: Result) -> bool:
    """Whether it is of a pretraining that has left weights."""
    return trial(record)[1] == PRETRAIN and record.status == "ok"


def _standings(protocol: str, counted: Kept, known: Kept, damaged: Sequence[Damaged]) -> Iterator[Standing]:
    """Where a protocol stands with every seed that records of the model are of.

    Of which seed a damaged record was, nobody knows: with one, no other seed is said to be not run.
    """
    mine = [(path, record) for path, record in counted if trial(record)[1] == protocol]
    for path, record in mine:
        word = "" if record.status == "ok" else record.status
        why = f"{record.reason}: {record.message}" if word else ""
        yield Standing(record.trained, record.seed, word, why, (path, record))
    broken = [one for one in damaged if one.protocol == protocol]
    yield from (Standing(None, None, DAMAGED, one.why) for one in broken)
    old = {trial(r)[2:] for _, r in known if trial(r)[1] == protocol} - {trial(r)[2:] for _, r in mine}
    for trained, seed in sorted(old):
        yield Standing(trained, seed, STALE, "the weights have changed since; run it again")
    if broken:
        return
    begun = {trained for trained, _ in old} | {record.trained for _, record in mine}
    for trained in sorted({record.trained for _, record in known} - begun - _shared(mine, counted)):
        yield Standing(trained, trained, NOT_RUN, "not computed yet")


def _shared(mine: Kept, counted: Kept) -> set[int]:
    """Seeds whose number another seed's record is: training left the same weights, as where there is none."""
    there = {(record.identity.get("weights"), record.seed) for _, record in mine}
    return {record.trained for _, record in counted if (weights_left(record), record.trained) in there}
