"""What `make` offers is there, is said at its top, and stands on what is committed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reports.gate.baseline import read
from tests.bench.__main__ import SMALL

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Makefile").read_text()
SAID = re.findall(r"make (\w+) ", TEXT.partition("PYTHON")[0])


def test_every_target_that_is_said_can_be_made() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    assert {"demo", "test", "gate", "accept", "faults", "bench", "lock", "example"} <= set(SAID)
    done = subprocess.run(["make", "-n", *SAID], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_gate_has_a_baseline_of_the_models_that_it_computes() -> None:
    """Three seeds each, so that noise is known."""
    asked = re.search(r"^GATED := (.*)$", TEXT, re.MULTILINE)
    entries = read(ROOT / "tests" / "golden" / "baseline.json").entries
    assert asked
    assert {entry.model for entry in entries} == set(asked[1].split())
    assert {entry.seeds for entry in entries} == {(0, 1, 2)}
    assert all(entry.weights for entry in entries)


def test_every_script_of_the_bench_has_a_small_size() -> None:
    scripts = {
        path.stem for path in (ROOT / "tests" / "bench").glob("*.py") if path.stem.strip("_") == path.stem
    }
    assert set(SMALL) == scripts
    for name, words in SMALL.items():
        source = (ROOT / "tests" / "bench" / f"{name}.py").read_text()
        assert "argparse" in source
        if 'f"--{name}"' not in source:  # options that are made in a loop
            assert all(f'"{word}"' in source for word in words if word.startswith("--")), name
