"""All bad images of a split are found, without torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from pretrain.data import check
from pretrain.data.check import bad_images
from pretrain.data.sets import imagenet
from tests import scenes


def test_every_bad_image_is_found(tmp_path: Path) -> None:
    root = scenes.folder(tmp_path, per_class=40)
    split = imagenet.read(root, "train")
    empty, cut, text, gone = (split.path(i) for i in (3, 41, 90, 119))
    empty.write_bytes(b"")
    cut.write_bytes(cut.read_bytes()[:-40])
    text.write_text("<html>404</html>")
    gone.unlink()
    found = dict(bad_images(split, processes=2))
    assert list(found) == [empty, cut, text, gone]
    assert found[gone] == "it is not there"
    assert all(found[path].startswith("it cannot be decoded (") for path in (empty, cut, text))


def test_whole_images_pass_and_looking_can_end_early(tmp_path: Path) -> None:
    split = imagenet.read(scenes.folder(tmp_path, per_class=2), "train")
    assert list(bad_images(split, processes=1)) == []
    split.path(0).write_bytes(b"")
    looking = bad_images(split, processes=1)
    assert next(looking)[0] == split.path(0)
    looking.close()  # type: ignore[attr-defined]


def _end(_: object) -> list[str]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_a_killed_process_is_one_sentence_that_names_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the kernel, where an image takes more memory than there is."""
    split = imagenet.read(scenes.folder(tmp_path, per_class=30), "train")
    monkeypatch.setattr(check, "flaws", _end)
    between = f"was killed, at one from {split.path(0)} to {split.path(63)}; see whether memory ran out"
    with pytest.raises(Fault, match=between) as caught:
        list(bad_images(split, processes=1))
    assert caught.value.reason == "worker-crash"


def test_bad_images_come_as_they_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before all places are listed."""
    split = imagenet.read(scenes.folder(tmp_path, per_class=20), "train")
    split.path(0).write_bytes(b"")
    split.path(59).write_bytes(b"")
    monkeypatch.setattr(check, "AT_A_TIME", 2)
    listed, place = list[int](), type(split).place
    monkeypatch.setattr(type(split), "place", lambda self, i: (listed.append(i), place(self, i))[1])
    looking = bad_images(split, processes=1)
    assert next(looking)[0] == split.path(0)
    assert len(listed) <= 2 * check.AHEAD
    assert [path for path, _ in looking] == [split.path(59)]
    assert sorted(listed) == list(range(60))


@pytest.mark.parametrize("module", ["pretrain.data.check", "pretrain.data.image"])
def test_torch_is_not_loaded(module: str) -> None:
    code = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
