"""docs/example/ as it stands and as it is made: small, and without links that lead nowhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.reports.store import SMALL, benchmark

ROOT = Path(__file__).parents[1]
PLACE, SCRIPT = ROOT / "docs" / "example", ROOT / "examples" / "example.py"
LINK = re.compile(r"\]\(([^()\s]+)\)")


def dead(place: Path) -> list[str]:
    """Links of the pages to files that are not there."""
    links = [(path, link.partition("#")[0]) for path in place.rglob("*.md") for link in of(path)]
    return [f"{path.name}: {link}" for path, link in links if link and not (path.parent / link).exists()]


def of(path: Path) -> list[str]:
    return [link for link in LINK.findall(path.read_text()) if not link.startswith(("http", "mailto"))]


def test_the_committed_example_is_small_and_whole() -> None:
    if not PLACE.is_dir():
        pytest.skip("no docs/example here; `make example` writes it")
    files = [path for path in PLACE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_500_000
    assert all(path.stat().st_size <= 150_000 for path in files if path.suffix == ".png")
    assert dead(PLACE) == []
    pages = [path for path in files if path.suffix == ".md"]
    assert [path.name for path in pages if 'Path("/' in path.read_text()] == [], "a place of one machine"


@pytest.mark.slow
def test_an_example_is_made_of_a_home(tmp_path: Path) -> None:
    for model, value in (("odc", 40.0), ("swav", 50.0), ("random", 10.0)):
        benchmark(tmp_path / "home", SMALL["imagenet_knn"], {"k20_top1": value}, model=model)
    homes = f"--home {tmp_path}/home --gate {tmp_path}/none --to {tmp_path}/made"
    argv = [sys.executable, str(SCRIPT), "--suite", "smoke", *homes.split()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "made" / "odc.md").read_text()
    assert re.search(r"\| odc \| config \|.*\*\*40\.0\*\*", page)
    assert "result.json" not in page
    assert (tmp_path / "made" / "cards" / "swav.md").exists()
    assert dead(tmp_path / "made") == []
    if any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        for name in ("site.png", "model.png", "compare.png"):
            with Image.open(tmp_path / "made" / name) as picture:
                assert picture.width == 1200
            assert (tmp_path / "made" / name).stat().st_size <= 150_000
