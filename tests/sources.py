"""Accepts the code of every protocol and method as it is: `python -m tests.sources`.

What changed must have a new version, or the promise that no number moved: `--same-numbers`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.contract.protocol import PACKAGE, catalogue
from pretrain.base import registry
from pretrain.base.source import source
from zoo.suites.suite import METHODS, recipes

FILE = Path(__file__).parent / "golden" / "sources.json"
Accepted = dict[str, dict[str, object]]  # name -> version(s) and source


def current() -> Accepted:
    """Versions and source of every protocol and every method."""
    protocols = {
        name: {"version": protocol.version, "source": source(f"{PACKAGE}.{protocol.family}.run")}
        for name, protocol in (catalogue("cifar") | catalogue("paper")).items()
    }
    methods = {
        name: {
            "version": {r.name: r.version for found in recipes(name).values() for r in found},
            "source": source(f"{METHODS}.{name}.method"),
        }
        for name in registry.names(METHODS)
    }
    return {**protocols, **methods}


def unannounced(old: Accepted, new: Accepted) -> list[str]:
    """Names whose code is another while every version is the same."""
    return [
        name
        for name in sorted(old.keys() & new.keys())
        if old[name]["source"] != new[name]["source"] and old[name]["version"] == new[name]["version"]
    ]


def main(same_numbers: bool) -> int:
    new = current()
    silent = unannounced(json.loads(FILE.read_text()), new) if FILE.exists() else []
    if silent and not same_numbers:
        print(
            f"the code of {', '.join(silent)} changed; raise the version, or say --same-numbers",
            file=sys.stderr,
        )
        return 1
    FILE.write_text(json.dumps(new, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main("--same-numbers" in sys.argv))
