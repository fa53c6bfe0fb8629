"""Small stores of records to render pages from, and a view of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.contract.protocol import Protocol, catalogue
from benchmarks.contract.result import Result, write
from benchmarks.contract.score import Score
from pretrain.base.settings import plain
from reports.records import found
from reports.view import View
from tests.test_result import record
from zoo.suites.suite import recipes

PAPER = catalogue("paper")
SMALL = catalogue("smoke")
CARD = {
    "id": "odc_resnet50",
    "method": "Online Deep Clustering",
    "parameters": 23_508_032,
    "parameters_with_classifier": 25_557_032,
    "macs": 4_087_000_000,
    "file_mib": 111.374,
    "training_data": "imagenet/train",
    "images": 1_281_167,
    "processes": 8,
    "device": "H100",
    "seconds": 7260.0,
    "device_hours": 16.13,
    "techniques": ["k-means"],
    "architecture": ["Convolution"],
    "lr": 0.06,
    "lr_per_256": 0.03,
    "batch_size": 512,
    "epochs": 440,
    "layers": 50,
    "classes": 1000,
    "momentum": 0.9,
    "weight_decay": 1e-5,
    "width_multiplier": 1.0,
    "temperature": 0.1,
}


def benchmark(
    home: Path, protocol: Protocol, scores: dict[str, float], model: Any = "odc", n: int = 50_000, **more: Any
) -> Path:
    """The record of a benchmark below a home, as a job of the product leaves it; its path.

    model: its name, or what the record says of it.
    """
    if isinstance(model, dict):
        more["model"], model = model, "odd"
    seed, better = more.pop("seed", 0), more.pop("better", "higher")
    data, weights = more.pop("data", "aaaa"), more.pop("weights", f"w{model}")
    body: dict[str, Any] = {
        "key": f"{model}{protocol.name}{seed}{more.get('time', '')}"[:40],
        "model": {"name": model, "method": model, "recipe": "given", "config": "config"},
        "protocol": {
            "name": protocol.name,
            "version": protocol.version,
            "settings": plain(protocol.settings),
        },
        "identity": {"weights": weights, "data": {"val": data}, "seed": seed, **protocol.rule()},
        "metrics": [Score(name, value, n, "val", better=better) for name, value in scores.items()],
        "seed": seed,
        "time": {"start": "", "end": "2026-01-01"},
    }
    path = home / "results" / model / protocol.name / f"{seed}{more.pop('at', '')}" / "result.json"
    write(path, record(**{**body, **more}))
    return path


def pretraining(home: Path, method: str, recipe: int = 0, seed: int = 0, **more: Any) -> Result:
    """The record of a pretraining by a published recipe, with weights that are no more than a file."""
    chosen = recipes(method)["paper"][recipe]
    body: dict[str, Any] = {
        "key": f"p{method}{seed}",
        "model": {"name": method, "method": method, "recipe": chosen.name, "config": chosen.config},
        "protocol": {"name": "pretrain", "version": chosen.version, "settings": plain(chosen)},
        "identity": {"data": "dddd", "seed": seed},
        "metrics": [],
        "facts": {"card": CARD, "weights": {"weights": f"w{method}"}},
        "seed": seed,
        "time": {"start": "", "end": "2026-01-01"},
    }
    made = record(**{**body, **more})
    folder = home / "models" / f"{method}-s{seed}"
    write(folder / "result.json", made)
    (folder / "backbone.safetensors").touch()
    return made


def view(home: Path, protocols: dict[str, Protocol] = PAPER, suite: str = "paper") -> View:
    """What pages of a home are rendered from."""
    return View(found(home), list(protocols.values()), suite)


def another(protocol: Protocol, **changes: Any) -> Protocol:
    """A protocol with fields replaced."""
    return replace(protocol, **changes)
