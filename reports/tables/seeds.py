"""Of a benchmark with several seeds: whose numbers stand in its cell, and what is said of the others.

One rule, for what a plan knows and for what records alone say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.contract.result import Result
from reports.records import seeds
from reports.tables.cells import Found, Missing

NOT_RUN, STALE, FAILED, SKIPPED = "not run", "stale", "failed", "skipped"


class Standing(NamedTuple):
    """Where a benchmark stands with one seed of a model and one of its own; None: nobody knows which. word:
    what it is instead of a number, '' where its record has some; why: a sentence for the notes.
    """

    trained: int | None
    seed: int | None
    word: str = ""
    why: str = ""
    one: tuple[Path, Result] | None = None


def settled(every: Sequence[Standing]) -> tuple[Found | Missing, tuple[str, ...]]:
    """The records that have numbers with what is lacking beside them, or why there is no number.

    One that failed hides the others: a mean over those that did not would be too good. An evaluation that was
    not run is one number less of a seed that has some, and nothing is said of it. Seeds that share a record,
    for what has nothing to train, are one number.
    """
    for one in every:
        if one.word == FAILED:
            return Missing(FAILED, f"{_named(one)}: {one.why}" if len(every) > 1 else one.why), ()
    begun = {one.trained for one in every if one.word != NOT_RUN}
    lacking = [one for one in every if one.word and (one.word != NOT_RUN or one.trained not in begun)]
    found = dict(one.one for one in every if one.one is not None and not one.word)
    if lacking and not found:
        return Missing(lacking[0].word, lacking[0].why), ()
    return list(found.items()), tuple(_said(lacking))


def _named(one: Standing) -> str:
    if one.trained is None or one.seed is None:
        return "a record"
    return seeds(one.trained, one.trained if one.word == NOT_RUN else one.seed)


def _said(lacking: Sequence[Standing]) -> Iterator[str]:
    """A phrase per word with the seeds that it is said of."""
    for word in dict.fromkeys(one.word for one in lacking):
        mine = [one for one in lacking if one.word == word]
        yield f"{', '.join(dict.fromkeys(map(_named, mine)))} {word}"
