"""Golden numbers of the smoke suite: what the accepted weights evaluate to, on the same arithmetic.

`python -m tests.golden HOME` accepts what the records of seed 0 say (`make accept` computes them first).
Numbers of other weights, on other processors, are the business of `zoo gate` and its baseline.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.contract import result
from zoo.suites.suite import FLOORS

FILE = Path(__file__).parent / "golden" / "smoke.json"
MODELS = ("odc", *FLOORS)
SAME = 0.1  # points by which a number of the accepted weights may differ

Numbers = dict[str, dict[str, float]]  # protocol -> metric -> value


class Accepted(NamedTuple):
    """weights: hash of what was evaluated."""

    weights: str
    numbers: Numbers


def collect(home: Path) -> dict[str, Accepted]:
    """Every benchmark record of seed 0 below a suite's folder, by model."""
    found: dict[str, Accepted] = {}
    for _, record in result.every(home / "results"):
        if record.seed or record.model["name"] not in MODELS:
            continue
        assert record.status == "ok", (record.model["name"], record.protocol["name"], record.message)
        metrics = {metric.name: round(metric.value, 4) for metric in record.metrics}
        model = found.setdefault(record.model["name"], Accepted(record.model["weights_sha256"], {}))
        model.numbers[record.protocol["name"]] = metrics
    return found


def accepted() -> dict[str, Accepted]:
    return {model: Accepted(**body) for model, body in json.loads(FILE.read_text()).items()}


if __name__ == "__main__":
    content = {model: found._asdict() for model, found in collect(Path(sys.argv[1])).items()}
    assert set(content) == set(MODELS), f"{sys.argv[1]} has records of {sorted(content)}, not of {MODELS}"
    FILE.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
