"""A share that is really read-only: a finished zoo is read there, and nothing is begun there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import commands

pytestmark = [pytest.mark.slow, pytest.mark.case(14)]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite whose `random` is measured."""
    path = commands.suite(tmp_path_factory.mktemp("suite"), ["imagenet_knn"])
    done = commands.zoo(path, "run", "random", "--all-benchmarks")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def share(suite: Path, tmp_path: Path) -> Iterator[Path]:
    """Its results, where nothing can be written; mounting needs the rights of root."""
    place = tmp_path / "share"
    place.mkdir()
    made = subprocess.run(["mount", "--bind", str(suite.parent / "out"), str(place)], capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"cannot mount a folder: {made.stderr.decode().strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def inventory(place: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(place.rglob("*"))}


@pytest.mark.parametrize(
    ("words", "shows"),
    [
        (["status"], "recorded"),
        (["list"], "random"),
        (["report"], "Nearest"),
        (["plan", "random"], "done"),
        (["explain", "random", "imagenet_knn"], "random"),
        (["run", "random", "--all-benchmarks"], "2 done"),
    ],
)
def test_a_finished_zoo_is_read_and_nothing_is_written(
    words: list[str], shows: str, suite: Path, share: Path
) -> None:
    before = inventory(share)
    done = commands.zoo(suite, *words, out=share)
    assert done.returncode == 0, done.stderr
    assert shows in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert inventory(share) == before


def test_what_is_to_be_computed_there_is_refused_before_any_work(suite: Path, share: Path) -> None:
    done = commands.zoo(suite, "run", "odc", "--all-benchmarks", out=share)
    assert done.returncode == 2
    assert "Read-only file system; make that possible or choose another place" in done.stderr
    assert "started" not in done.stderr
