"""`zoo clean` removes caches, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from benchmarks import shelf
from pretrain.base.faults import Fault
from pretrain.base.lease import lease
from zoo import clean


def features(home: Path, name: str) -> Path:
    """A folder of features below a home."""
    place = home / "features" / "weights" / name
    note = {"model": "odc-s0", "what": {"kind": "average"}}
    with shelf.stocked(place, note) as create:
        create((500, 3), "float32").append(np.ones((500, 3), dtype=np.float32))
    return place


def said(home: Path, *words: str) -> str:
    """What the command prints."""
    app = typer.Typer()
    app.command()(clean.command)
    done = CliRunner().invoke(app, ["--out", str(home), *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_caches_go_and_records_and_weights_stay(tmp_path: Path) -> None:
    stays = [tmp_path / "models/odc-s0-1/backbone.safetensors", tmp_path / "results/odc/knn/1/result.json"]
    for path in stays:
        path.parent.mkdir(parents=True)
        path.touch()
    goes, used = features(tmp_path, "a"), features(tmp_path, "b")
    (array,) = shelf.opened(used) or []
    dry = said(tmp_path, "--dry-run")
    assert goes.exists()
    assert "would free 6." in dry
    text = said(tmp_path)
    assert "features of odc-s0: average, 500x3" in text
    assert "freed 6." in text
    assert "kB in 1 caches" in text
    assert "1 in use by a running job stay" in text
    assert (goes.exists(), used.exists(), array.sum()) == (False, True, 1500)
    assert all(path.exists() for path in stays)


def test_what_a_killed_clean_has_begun_to_remove_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = features(tmp_path, "a")

    def killed(path: Path, ignore_errors: bool = False) -> None:
        if path.exists():
            (path / "manifest.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shelf.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            shelf.clean(tmp_path / "features")
    assert "freed 6." in said(tmp_path)
    assert not list(place.parent.rglob("*.npy"))


@pytest.mark.case(14)
def test_what_cannot_be_removed_is_not_said_to_be_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only share: root, as whom tests may run, is kept from nothing else."""
    place = features(tmp_path, "a")

    def read_only(path: Path, **_: object) -> None:
        raise Fault("bad-config", "cannot write")

    monkeypatch.setattr(shelf, "lease", read_only)
    monkeypatch.setattr("os.access", lambda _, mode: mode != os.W_OK)
    with pytest.raises(Fault, match=r"1 stay: .*/features/weights cannot be written"):
        said(tmp_path)
    assert place.exists()


def test_a_home_without_caches_has_nothing_to_clean(tmp_path: Path) -> None:
    assert said(tmp_path).startswith("freed 0 B in 0 caches")


@pytest.mark.parametrize(("count", "words"), [(12, "12 B"), (3400, "3.4 kB"), (1_800_000_000, "1.8 GB")])
def test_sizes_are_for_people(count: int, words: str) -> None:
    assert clean.size(count) == words


def test_what_killed_writers_left_goes_with_the_next_command(tmp_path: Path) -> None:
    """Whose lock is held, somebody writes."""
    place = tmp_path / "weights"
    for name in ("killed", "alive"):
        (place / f".{name}.part").mkdir(parents=True)
        (place / f".{name}.part" / "1.npy").write_bytes(b"rows")
        (place / f".{name}.json.4711.part").write_bytes(b"half")
    with lease(shelf.lock(place / "alive"), wait=False):
        shelf.sweep(tmp_path)
        assert sorted(path.name for path in place.glob(".*")) == [".alive.json.4711.part", ".alive.part"]
    shelf.sweep(tmp_path)
    assert not list(place.glob(".*"))
