"""Images that a suite's `exclude` lists: named by any path that leads to them, said where none is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from pretrain.data.exclude import without
from pretrain.data.sets import imagenet
from tests import scenes
from zoo.plan import left_out
from zoo.plan.planner import Planner
from zoo.request import resolve
from zoo.show import plan

IMAGE = "train/class0/000.png"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return scenes.folder(tmp_path / "images", per_class=4)


def kept(root: Path, path: Path) -> tuple[int, tuple[str, ...]]:
    """How many images are left out, and which lines of the list say so."""
    split = without(imagenet.read(root, "train"), path)
    assert len(split) == 12 - split.excluded
    return split.excluded, split.left_out


def test_an_image_is_left_out_by_any_path_that_leads_to_it(images: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(images)
    image, pool = images / IMAGE, tmp_path / "pool.png"
    image.rename(pool)
    image.symlink_to(pool)
    for line in (f"images/{IMAGE}", f"linked/{IMAGE}", str(image), str(pool), f"./linked/../images/{IMAGE}"):
        (tmp_path / "bad.txt").write_text(f"{line}\nnot there.png\n")
        for root in (images, tmp_path / "linked"):
            assert kept(root, tmp_path / "bad.txt") == (1, (line,))


def test_lines_that_name_the_same_image_are_all_of_use(images: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text(f"images/{IMAGE}\n{images / IMAGE}\n")
    count, lines = kept(images, tmp_path / "bad.txt")
    assert (count, len(lines)) == (1, 2)


def planned(tmp_path: Path, *lines: str) -> Planner:
    """The planner of a suite that leaves out what these lines name, once it has planned."""
    (tmp_path / "bad.txt").write_text("\n".join(lines))
    head = "variant = 'smoke'\nprotocols = ['imagenet_knn']\nexclude = 'bad.txt'\n"
    (tmp_path / "own.toml").write_text(f"{head}[data]\nimagenet = 'images'\n")
    planner = Planner(resolve(["random"], None, str(tmp_path / "own.toml"), tmp_path / "out", []))
    planner.plan()
    return planner


@pytest.mark.parametrize("times", [1, 2])
def test_a_list_that_names_no_image_is_refused(images: Path, tmp_path: Path, times: int) -> None:
    for _ in range(times):  # the second time nothing is opened
        planner = planned(tmp_path, IMAGE, "class0/001.png")
    said = (
        f"not one of the 2 lines of .*bad.txt names an image, first '{IMAGE}', which is {tmp_path}/{IMAGE}, "
        f"where an image is {images}/train/"
    )
    with pytest.raises(Fault, match=said) as raised:
        left_out.sentence(planner.datasets)
    assert raised.value.reason == "bad-config"


@pytest.mark.parametrize("times", [1, 2])
def test_lines_that_name_no_image_are_said(images: Path, tmp_path: Path, times: int) -> None:
    for _ in range(times):
        planner = planned(tmp_path, f"images/{IMAGE}", "a.png", "images/val/class1/002.png", "b.png")
    said = left_out.sentence(planner.datasets)
    assert said.startswith("exclude: 2 of the 4 lines of ")
    assert said.endswith("name no image that is read here, first 'a.png'")
    assert left_out.sentence(planned(tmp_path, f"images/{IMAGE}").datasets) == ""
    assert left_out.sentence(planned(tmp_path, "", " ").datasets) == ""


def test_a_shown_plan_says_which_lines_name_no_image(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planner = planned(tmp_path, f"images/{IMAGE}", "a.png")
    plan.show(planner.plan(), as_json=False, datasets=planner.datasets)
    assert "note: exclude: 1 of the 2 lines of " in capsys.readouterr().out


def test_a_list_of_files_that_this_plan_does_not_read_is_no_fault(images: Path, tmp_path: Path) -> None:
    (tmp_path / "other.png").touch()
    said = left_out.sentence(planned(tmp_path, "other.png").datasets)
    assert "1 of the 1 lines" in said


def test_where_data_are_missing_nothing_is_refused(images: Path, tmp_path: Path) -> None:
    (images / "val").rename(images / "aside")
    assert "1 of the 1 lines" in left_out.sentence(planned(tmp_path, "val/1.png").datasets)
    (images / "train").rename(images / "aside2")
    assert left_out.sentence(planned(tmp_path, "val/1.png").datasets) == ""
