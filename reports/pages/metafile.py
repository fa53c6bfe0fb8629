"""A published model in OpenMMLab's form: metafile.yml with its collection, and model-index.yml that lists it.

The form is that of MMSelfSup 0.x and MMPretrain: a model's name is the stem of its config, Weights is an
address, and of results ImageNet's linear top-1 on the global average stands there.
"""

from __future__ import annotations

from typing import Any

import yaml  # type: ignore[import-untyped]

from reports.pages.card import fields
from reports.pages.evaluated import evaluated
from reports.pages.hub import Content

FILE, INDEX = "metafile.yml", "model-index.yml"
TASK = "Self-Supervised Image Classification"
BENCHMARK, SCORE = "imagenet_linear", "AvgPool_top1"
HUB = "https://huggingface.co"


def metafile(content: Content) -> str:
    """The text of metafile.yml."""
    body = {"Collections": [_collection(content)], "Models": [_model(content)]}
    return str(yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=1000))


def index() -> str:
    """The text of model-index.yml."""
    return str(yaml.safe_dump({"Import": [FILE]}))


def config(name: str) -> str:
    """The file with a model's settings, which its name is the stem of."""
    return f"{name}.json"


def _collection(content: Content) -> dict[str, Any]:
    said, card = content.said, content.facts
    where = {
        "Training Data": dict(fields(card))["Training Data"] or None,
        "Training Techniques": card.get("techniques"),
        "Training Resources": f"{card['processes']}x {card['device']}" if card.get("processes") else None,
        "Architecture": card.get("architecture") or [content.arch],
    }
    made: dict[str, Any] = {"Name": _family(content), "Metadata": _told(where)}
    if said.url:
        made["Paper"] = {"URL": said.url, "Title": said.title}
    return {**made, "README": "README.md"}


def _model(content: Content) -> dict[str, Any]:
    card, weights = content.facts, content.pth or content.safetensors
    metadata = {
        "Epochs": card.get("epochs"),
        "Batch Size": card.get("batch_size"),
        "FLOPs": card.get("macs"),  # as OpenMMLab counts: a multiply-add is one
        "Parameters": card.get("parameters"),
    }
    return {
        "Name": content.name,
        "In Collection": _family(content),
        "Metadata": _told(metadata),
        "Results": _results(content),
        "Config": config(content.name),
        "Weights": f"{HUB}/{content.where}/resolve/main/{weights}" if content.where else weights,
    }


def _family(content: Content) -> str:
    return content.said.name if content.row else content.name


def _told(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _results(content: Content) -> list[dict[str, Any]] | None:
    if content.view is None or content.row is None:
        return None
    found = [
        {"Task": TASK, "Dataset": one.dataset_name, "Metrics": {"Top 1 Accuracy": one.value}}
        for one in evaluated(content.view, content.row)
        if (one.benchmark, one.score) == (BENCHMARK, SCORE)
    ]
    return found or None
