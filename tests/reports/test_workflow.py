"""The workflow for users says what the commands understand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from reports.gate.baseline import read
from tests.reports.store import SMALL, benchmark
from zoo import gate

FILE = Path(__file__).parents[2] / "examples" / "zoo-gate.yml"
TEXT = FILE.read_text()


def commands(verb: str) -> list[list[str]]:
    """The words behind `zoo VERB` of every line that has them, comments included."""
    return [shlex.split(line) for line in re.findall(rf"zoo {verb} (.*)", TEXT)]


def test_the_workflow_runs_then_compares_then_shows_whatever_came_of_it() -> None:
    (job,) = yaml.safe_load(TEXT)["jobs"].values()
    steps = {step["name"]: step for step in job["steps"] if "name" in step}
    assert list(steps) == ["Install", "Compute", "Compare", "Show", "Keep"]
    assert steps["Show"]["if"] == steps["Keep"]["if"] == "always()"
    assert "if" not in steps["Compare"]


def test_its_gate_is_understood_and_fails_what_fell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    app.command()(gate.command)
    monkeypatch.chdir(tmp_path)
    accept, compare = sorted(commands("gate"), key=lambda words: "--accept" not in words)
    home = tmp_path / "runs" / "smoke"
    benchmark(home, SMALL["imagenet_knn"], {"top1": 50.0})
    run = CliRunner().invoke
    assert run(app, accept).exit_code == 0
    assert read(tmp_path / "baseline.json").entries[0].value == 50.0
    assert run(app, compare).exit_code == 0
    assert (tmp_path / "gate.xml").exists()
    assert (tmp_path / "gate.md").read_text().startswith("## ✅ Zoo gate: 1 pass\n")
    benchmark(home, SMALL["imagenet_knn"], {"top1": 40.0})
    assert run(app, compare).exit_code == 3
