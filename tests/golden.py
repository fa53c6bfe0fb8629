"""Golden numbers of the smoke suite: `python -m tests.golden HOME` accepts what HOME's records say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks import result

FILE = Path(__file__).parent / "golden" / "smoke.json"
# Points by which a number may differ before it must be accepted anew. Training amplifies rounding, which differs
# between processors; a frozen random backbone does not.
TOLERANCE = {"trained": 6.0, "random": 2.0}


def collect(home: Path) -> dict[str, dict[str, dict[str, float]]]:
    """model -> protocol -> metric -> value, of every benchmark record below a suite's folder."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for _, record in result.every(home / "results"):
        assert record.status == "ok", (record.model["name"], record.protocol["name"], record.message)
        metrics = {metric.name: round(metric.value, 4) for metric in record.metrics}
        found.setdefault(record.model["name"], {})[record.protocol["name"]] = metrics
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(collect(Path(sys.argv[1])), indent=1, sort_keys=True) + "\n")
