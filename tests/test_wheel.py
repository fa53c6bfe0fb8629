"""What is installed from a wheel works away from the source tree, with all that it reads beside its code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import scenes

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel's contents and nothing of the source tree."""
    pytest.importorskip("setuptools")
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source = place / "source"  # a copy: what setuptools builds in would go into the next wheel
    left_out = shutil.ignore_patterns(".git", ".venv", "runs", "build", "tests", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=left_out)
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(place), str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = place.glob("*.whl")
    target = place / "site"
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-compile", "--target", str(target), str(wheel)], check=True
    )
    return target


def zoo(installed: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "zoo", *words], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_a_wheel_runs_and_reports_away_from_the_source(installed: Path, tmp_path: Path) -> None:
    images = scenes.folder(tmp_path / "images", per_class=8)
    (tmp_path / "own.toml").write_text(
        f"variant = 'smoke'\nprotocols = ['clustering']\nbeside = []\n[data]\nimagenet = '{images}'\n"
    )
    where = subprocess.run(
        [sys.executable, "-c", "import zoo, reports; print(zoo.__path__[0], reports.__path__[0])"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert all(str(installed) in path for path in where.stdout.split())
    suite = ("--suite", "own.toml", "--out", "out")
    done = zoo(installed, tmp_path, "run", "random", "--all-benchmarks", *suite)
    assert done.returncode == 0, done.stderr
    for words in (("--pages", "pages"), ("--html", "site"), ("--format", "csv")):
        done = zoo(installed, tmp_path, "report", *suite, *words)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").exists()
    assert "VOC" in zoo(installed, tmp_path, "list", "--suite", "demo").stdout
