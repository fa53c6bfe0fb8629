"""Golden numbers of the smoke suite: `python -m tests.golden HOME` accepts what HOME's records say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.contract import result
from zoo.suites.suite import FLOORS

FILE = Path(__file__).parent / "golden" / "smoke.json"
# Points by which a number may differ before it must be accepted anew. Where all weights are the accepted ones
# the arithmetic is the same to the last bit, and numbers are too. Elsewhere training has amplified the
# rounding, which differs between processors; a frozen random backbone does not.
SAME, TRAINED, RANDOM = 0.1, 6.0, 2.0

Numbers = dict[str, dict[str, float]]  # protocol -> metric -> value


class Accepted(NamedTuple):
    """weights: hash of what was evaluated."""

    weights: str
    numbers: Numbers


def collect(home: Path) -> dict[str, Accepted]:
    """Every benchmark record below a suite's folder, by model."""
    found: dict[str, Accepted] = {}
    for _, record in result.every(home / "results"):
        assert record.status == "ok", (record.model["name"], record.protocol["name"], record.message)
        metrics = {metric.name: round(metric.value, 4) for metric in record.metrics}
        model = found.setdefault(record.model["name"], Accepted(record.model["weights_sha256"], {}))
        model.numbers[record.protocol["name"]] = metrics
    return found


def tolerance(model: str, same: bool) -> float:
    """For a model's numbers; same: whether every model's weights are the accepted ones."""
    return SAME if same else RANDOM if model in FLOORS else TRAINED


def accepted() -> dict[str, Accepted]:
    return {model: Accepted(**body) for model, body in json.loads(FILE.read_text()).items()}


if __name__ == "__main__":
    content = {model: found._asdict() for model, found in collect(Path(sys.argv[1])).items()}
    FILE.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
