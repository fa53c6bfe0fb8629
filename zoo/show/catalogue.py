"""What is in the zoo: models with the names of their recipes, benchmarks, suites."""

from __future__ import annotations

import json
from pathlib import Path

from pretrain.base import registry
from zoo.suites import builtin
from zoo.suites.suite import METHODS, recipes


def show(suite_name: str, out: Path | None, as_json: bool) -> None:
    """Prints the catalogue of a suite."""
    suite = builtin.load(suite_name, out, {})
    protocols = suite.catalogue()
    models = {
        name: {variant: [recipe.name for recipe in found] for variant, found in recipes(name).items()}
        for name in registry.names(METHODS)
    }
    if as_json:
        body = {"models": models, "benchmarks": list(protocols), "suites": list(builtin.BUILT_IN)}
        print(json.dumps(body, indent=1))
        return
    print("models")
    for name, variants in models.items():
        module = registry.load(METHODS, name, "recipes")
        print(f"  {name:<16} {module.TITLE}: {module.SUMMARY}")
        for variant, names in variants.items():
            print(f"    {variant:<6} {', '.join(names)}")
    print(f"benchmarks (suite {suite.name})")
    for name, protocol in protocols.items():
        print(f"  {name:<24} {protocol.title}")
    print(f"suites\n  {', '.join(builtin.BUILT_IN)}, or a TOML file of your own")
