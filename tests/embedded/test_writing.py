"""The same bytes from the same seed; complete roots are left alone, broken ones rewritten, others refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from pretrain.data.embedded import coco
from pretrain.data.embedded.digits import SMOKE, Size, counts, write
from tests.embedded.reading import on_disk
from tests.embedded.tiny import TINY


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TINY, written once; `tiny` is a copy for tests that change it."""
    root = tmp_path_factory.mktemp("digits") / "tiny"
    write(root, TINY)
    return root


@pytest.fixture
def tiny(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "root"))


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def test_same_seed_same_bytes_other_seed_other_bytes(drawn: Path, tmp_path: Path) -> None:
    write(tmp_path / "again", TINY)
    write(tmp_path / "other", replace(TINY, seed=1))
    one, other = contents(drawn), contents(tmp_path / "other")
    assert one == contents(tmp_path / "again")
    same = [
        name
        for name in one
        if name.endswith((".jpg", ".JPEG", "leftImg8bit.png")) and one[name] == other.get(name)
    ]
    assert same == []


def test_one_set_does_not_depend_on_the_size_of_another(drawn: Path, tmp_path: Path) -> None:
    write(tmp_path / "more", replace(TINY, imagenet_train=40, coco_train=12))
    one, more = contents(drawn), contents(tmp_path / "more")
    for name in one:
        if name.startswith(
            ("inat18", "places205", "VOCdevkit", "cityscapes", "imagenet/val", "coco/val2017")
        ):
            assert one[name] == more[name]


def stamps(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in root.rglob("*")}


def test_a_complete_root_is_left_alone(tiny: Path) -> None:
    (tiny / ".DS_Store").touch()
    before = stamps(tiny)
    write(tiny, TINY)
    assert stamps(tiny) == before


@pytest.mark.slow
@pytest.mark.parametrize("size", [replace(TINY, version=99), replace(TINY, coco_train=40)])
def test_a_root_of_another_size_is_rewritten(tiny: Path, size: Size) -> None:
    before = stamps(tiny)
    write(tiny, size)
    assert on_disk(tiny) == counts(size)
    assert stamps(tiny)[tiny / "imagenet"] != before[tiny / "imagenet"]
    assert [path.name for path in tiny.parent.iterdir()] == ["root"]


def test_a_root_with_a_file_missing_is_rewritten(drawn: Path, tiny: Path) -> None:
    (tiny / "coco/train2017/000000000001.jpg").unlink()
    write(tiny, TINY)
    assert contents(tiny) == contents(drawn)


@pytest.mark.slow
def test_a_killed_write_leaves_no_root_and_the_next_one_starts_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(coco, "write_coco", die)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "root", TINY)
    assert not (tmp_path / "root").exists()
    (tmp_path / "root.partial/imagenet/left over").touch()
    write(tmp_path / "root", TINY)
    assert on_disk(tmp_path / "root") == counts(TINY)
    assert not (tmp_path / "root/imagenet/left over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.parametrize("manifest", [None, "{}", "not json"])
def test_a_folder_of_somebody_else_is_not_touched(tmp_path: Path, manifest: str | None) -> None:
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet/precious.JPEG").touch()
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(Fault, match="new or empty folder") as caught:
        write(tmp_path, TINY)
    assert caught.value.reason == "bad-config"
    assert (tmp_path / "imagenet/precious.JPEG").exists()


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    write(tmp_path / "root", TINY)
    assert (tmp_path / "root/manifest.json").exists()


@pytest.mark.parametrize(
    ("field", "least"), [("imagenet_val", 10), ("inat18_val", 20), ("voc2012_train", 20)]
)
def test_a_split_too_small_for_its_classes_is_refused(field: str, least: int) -> None:
    replace(SMOKE, **{field: least})
    with pytest.raises(Fault, match=f"{field} must be at least {least}"):
        replace(SMOKE, **{field: least - 1})


@pytest.mark.slow
def test_reading_the_sizes_loads_neither_torch_nor_sklearn_and_drawing_loads_no_torch() -> None:
    code = (
        "import sys, numpy as np; from pretrain.data.embedded import digits, drawing;"
        "print({'torch', 'sklearn', 'scipy'} & set(sys.modules));"
        "drawing.group(np.random.default_rng(0), 'train', 3, 96, (96, 96), 2); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["set()", "False"]
