"""Golden numbers of the smoke suite: `python -m tests.golden HOME` accepts what HOME's records say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks import result

FILE = Path(__file__).parent / "golden" / "smoke.json"
# Points by which a number may differ before it must be accepted anew. Training amplifies rounding, which differs
# between processors: where the weights are the accepted ones numbers are too, where they are not a hundred and sixty
# test images leave some ten points to chance.
SAME_WEIGHTS, OTHER_WEIGHTS = 0.1, 15.0

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


def accepted() -> dict[str, Accepted]:
    return {model: Accepted(**body) for model, body in json.loads(FILE.read_text()).items()}


if __name__ == "__main__":
    content = {model: found._asdict() for model, found in collect(Path(sys.argv[1])).items()}
    FILE.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
