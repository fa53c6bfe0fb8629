"""All bad images of a split are found, without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("module", ["pretrain.data.check", "pretrain.data.image"])
def test_torch_is_not_loaded(module: str) -> None:
    code = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
