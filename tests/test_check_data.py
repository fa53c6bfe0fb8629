"""Bad images are listed all at once, and left out where a suite says so, with their number in the record."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from tests import scenes
from zoo.engines import inline
from zoo.engines.engine import Orders
from zoo.plan.datasets import Datasets
from zoo.plan.planner import Planner
from zoo.request import resolve
from zoo.show import checks
from zoo.show.progress import Display
from zoo.suites import builtin


@pytest.fixture
def own(tmp_path: Path) -> Path:
    images = scenes.folder(tmp_path / "images", per_class=4)
    (images / "train/class0/000.png").write_bytes(b"\x89PNG not really")
    (images / "val/class1/002.png").write_bytes(b"")
    suite = tmp_path / "own.toml"
    suite.write_text(f"variant = 'smoke'\nprotocols = ['imagenet_knn']\n[data]\nimagenet = '{images}'\n")
    return suite


def test_every_bad_image_is_printed_with_its_reason(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checks.show(str(own), None) == 1
    said = capsys.readouterr()
    assert [Path(line).relative_to(own.parent).as_posix() for line in said.out.splitlines()] == [
        "images/train/class0/000.png",
        "images/val/class1/002.png",
    ]
    assert "imagenet/train: 12 images, 1 bad" in said.err
    assert "cannot be decoded" in said.err


def test_sound_data_are_0_and_absent_data_4(own: Path, tmp_path: Path) -> None:
    for bad in ("train/class0/000.png", "val/class1/002.png"):
        (own.parent / "images" / bad).unlink()
    assert checks.show(str(own), None) == 0
    own.write_text(own.read_text().replace("/images'", "/nowhere'"))
    assert checks.show(str(own), None) == 4


@pytest.mark.slow
@pytest.mark.case(16)
def test_what_was_printed_can_be_left_out(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks.show(str(own), None)
    bad = own.parent / "bad.txt"
    bad.write_text(capsys.readouterr().out)
    before = Datasets(builtin.load(str(own), None, {}), own.parent / "known").identity("imagenet/train")
    own.write_text(f"exclude = 'bad.txt'\n{own.read_text()}")
    assert checks.show(str(own), None) == 0
    suite = builtin.load(str(own), None, {})
    split = suite.split("imagenet/train")
    assert (len(split), split.excluded, len(split.labels)) == (11, 1, 11)  # type: ignore[arg-type]
    datasets = Datasets(suite, own.parent / "known")
    after = datasets.identity("imagenet/train")
    assert after.fingerprint != before.fingerprint, "other data are another number"
    bad.write_text("")
    assert Datasets(suite, own.parent / "known").identity("imagenet/train").fingerprint == before.fingerprint


@pytest.mark.slow
@pytest.mark.case(16)
def test_the_record_counts_what_was_left_out(own: Path, tmp_path: Path) -> None:
    bad = [own.parent / "images" / name for name in ("train/class0/000.png", "val/class1/002.png")]
    (own.parent / "bad.txt").write_text("\n".join(map(str, bad)))
    trained = "[odc]\nepochs = 1\nbatch_size = 4\nclusters = 2\n"
    own.write_text(f"exclude = 'bad.txt'\n{own.read_text()}{trained}")
    planner = Planner(resolve(["odc"], None, str(own), tmp_path / "out", []))
    made = planner.plan()
    ended = inline.run(made, planner, Orders(), Display(len(made)))
    benchmarks = [job.record for job in ended if job.protocol is not None]
    assert benchmarks
    for record in benchmarks:
        assert record is not None
        assert record.facts["images_left_out"] == {"train": 1, "val": 1}
    (trained_on,) = (job.record for job in ended if job.protocol is None and job.entry.name == "odc")
    assert trained_on is not None
    assert trained_on.facts["images_left_out"] == {"train": 1}


def test_a_list_of_images_to_leave_out_names_any_bytes(own: Path) -> None:
    bad = own.parent / "images/train/class0/000.png"
    bad.rename(bad.with_name("\udcff.png"))
    (own.parent / "bad.txt").write_bytes(b"\xef\xbb\xbfimages/train/class0/\xff.png\r\n")
    own.write_text(f"exclude = 'bad.txt'\n{own.read_text()}")
    assert builtin.load(str(own), None, {}).split("imagenet/train").excluded == 1


@pytest.mark.slow
@pytest.mark.case(16)
def test_bad_images_of_any_bytes_are_printed_as_the_list_takes_them(own: Path) -> None:
    bad = own.parent / "images/train/class0/\udce4.png"
    bad.write_bytes(b"no image")
    said = subprocess.run(
        [sys.executable, "-m", "zoo", "check-data", "--suite", str(own)],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
    )
    assert said.returncode == 1
    assert bytes(bad) + b"\n" in said.stdout, said.stderr.decode()
    (own.parent / "bad.txt").write_bytes(said.stdout)
    own.write_text(f"exclude = 'bad.txt'\n{own.read_text()}")
    assert builtin.load(str(own), None, {}).split("imagenet/train").excluded == 2


def test_a_list_of_images_to_leave_out_must_be_a_file(own: Path) -> None:
    own.write_text(f"exclude = 'images'\n{own.read_text()}")
    with pytest.raises(Fault, match=r"exclude: .*/images cannot be read \(Is a directory\); name a file"):
        builtin.load(str(own), None, {}).split("imagenet/train")


def test_a_suite_finds_folders_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    own = tmp_path / "own.toml"
    own.write_text("images = '~/all'\nexclude = '~/bad.txt'\n[data]\nimagenet = '~/x'\ninat18 = '~x'\n")
    suite = builtin.load(str(own), None, {})
    home = tmp_path / "home"
    assert (suite.pretrained_on, suite.exclude) == (home / "all", home / "bad.txt")
    assert (suite.folder("imagenet"), suite.folder("inat18")) == (home / "x", tmp_path / "~x")
