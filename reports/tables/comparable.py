"""Whether a number of ours may be compared with a published one: same rule, same data, same training."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from benchmarks.contract.protocol import Protocol, catalogue
from benchmarks.contract.result import Result
from pretrain.base import registry
from pretrain.base.faults import Fault
from pretrain.base.settings import lines, plain
from reports.tables.cells import Missing, Row
from reports.tables.published import Sources

PUBLISHED = "paper"  # the variant whose settings are the published ones, and whose tables every page shows
MIXED = "_bf16"  # the same recipe in mixed precision


def other_rule(row: Row, protocol: Protocol, sources: Sources) -> str:
    """Why a model's numbers of a protocol do not follow the published rule; '' where they do."""
    found = row.found(protocol.name)
    if isinstance(found, Missing):
        return ""
    settings = _published().get(protocol.name)
    if any(record.protocol.get("settings") != settings for _, record in found):
        return "settings other than the published ones"
    shown = {column.score for column in protocol.columns}
    scores = [score for _, record in found for score in record.metrics if score.name in shown]
    if wrong := {score.n for score in scores} - {sources.n}:
        return f"reported on {min(wrong):,} images, published on {sources.n:,}"
    return ""


@cache
def _published() -> dict[str, Any]:
    """The published settings of every protocol; those of ImageNet where two variants have one."""
    found = catalogue("cifar") | catalogue(PUBLISHED)
    return {name: plain(protocol.settings) for name, protocol in found.items()}


def trained_by(row: Row) -> str:
    """The recipe that a model was trained by, unchanged; '' where there is none."""
    found = row.found("pretrain")
    records = [] if isinstance(found, Missing) else [record for _, record in found]
    names = {str(record.model.get("recipe", "")).removesuffix(MIXED) for record in records}
    if len(names) != 1 or any(dict(differences(record)) for record in records):
        return ""
    return names.pop()


def differences(record: Result) -> Iterator[tuple[str, Any]]:
    """(path, value) of the settings of a pretraining that the declared recipe of its name has otherwise."""
    settings = record.protocol.get("settings") or {}
    declared = dict(lines(_declared(record)))
    if declared:
        yield from ((path, value) for path, value in lines(settings) if declared.get(path) != value)


def _declared(record: Result) -> dict[str, Any]:
    try:
        module = registry.load("pretrain.methods", str(record.model.get("method")), "recipes")
    except Fault:  # given weights, or a method that is no longer there
        return {}
    for variant in ("PAPER", "PHOTOS", "CIFAR", "DEMO", "SMOKE"):
        for recipe in getattr(module, variant, ()):
            if recipe.name == record.model.get("recipe"):
                return dict(plain(recipe, every=True))
    return {}
