"""Real trainings, very small: they start from the given weights, go on after an interrupt and repeat
exactly.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.contract.pictures import load
from benchmarks.mm.checks import label_maps
from benchmarks.mm.worker import main as worker
from benchmarks.mm.worker import ops
from pretrain.base.faults import Fault
from pretrain.base.settings import changed
from pretrain.nets import checkpoint
from tests import mm_jobs
from tests.mm_jobs import job

pytest.importorskip("mmengine", reason="mmdet and mmsegmentation are not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # the mm packages warn when they are imported


@contextmanager
def as_before() -> Iterator[None]:
    """mm sets torch's random and deterministic modes and its registries' scope for its process.

    Here the process is everybody's, so they hold for a block alone.
    """
    from mmengine.registry import DefaultScope

    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with DefaultScope.overwrite_default_scope("mmengine"), torch.random.fork_rng():
        yield
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def global_state() -> Iterator[None]:
    with as_before():
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mm_jobs.backbone(tmp_path_factory.mktemp("weights") / "backbone.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mm_jobs.scenes(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", ["voc", "masks"])
def test_a_list_with_a_mark_and_blanks_names_the_images_that_were_checked(
    weights: Path, tmp_path: Path, name: str
) -> None:
    root = mm_jobs.scenes(tmp_path / "data")
    for part in ("VOC2007/ImageSets/Main/trainval.txt", "VOC2012/ImageSets/Segmentation/train.txt"):
        (root / part).write_text("".join(f"{i} \n" for i in range(6)), encoding="utf-8-sig")
    ops.install()
    from mmseg.datasets import BaseSegDataset

    from benchmarks.mm.worker.data import VocBoxes, prepare

    found = prepare(job(weights, root, tmp_path / "work", name))
    for stated in (*found.train, found.test):
        given = {key: value for key, value in stated.items() if key != "type"}
        images = (VocBoxes if name == "voc" else BaseSegDataset)(**given, pipeline=[])
        paths = [Path(images.get_data_info(i)["img_path"]) for i in range(len(images))]
        assert [path.stem for path in paths if path.exists()] == list("012345")


def test_the_images_of_cityscapes_that_are_read_are_those_that_were_checked(
    weights: Path, tmp_path: Path
) -> None:
    """Of a city that is a link, too; what a system left beside them, `._ulm_1_0_...`, is none."""
    root, scenes = tmp_path / "city", mm_jobs.scenes(tmp_path / "data") / "VOC2012"
    for kind, ending, source in (
        ("leftImg8bit", label_maps.CITY_IMAGE, "JPEGImages/{}.jpg"),
        ("gtFine", label_maps.CITY_MASK, "SegmentationClass/{}.png"),
    ):
        for number, city in enumerate((root / kind / "train" / "ulm", tmp_path / kind / "bonn")):
            city.mkdir(parents=True)
            shutil.copy(scenes / source.format(number), city / f"{city.name}_{number}_0{ending}")
            (city / f"._{city.name}_1_0{ending}").write_bytes(b"of macOS")
        (root / kind / "train" / "bonn").symlink_to(tmp_path / kind / "bonn")
    ops.install()
    from mmseg.datasets import BaseSegDataset

    from benchmarks.mm.worker.data import prepare

    parts = {"train_lists": (("train", ""),), "test_list": ("train", "")}
    wanted = changed(mm_jobs.SETTINGS["masks"], layout="cityscapes", **parts)
    found = prepare(changed(job(weights, root, tmp_path / "work", "masks"), settings=wanted))
    assert found.images == 2
    given = {key: value for key, value in found.test.items() if key != "type"}
    images = BaseSegDataset(**given, pipeline=[])
    read = [images.get_data_info(i) for i in range(len(images))]
    names = [Path(one["img_path"]).name.removesuffix(label_maps.CITY_IMAGE) for one in read]
    assert names == ["bonn_1_0", "ulm_0_0"]
    assert all(Path(one["seg_map_path"]).exists() for one in read)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("voc", {"mAP", "AP50", "AP75"}),
        ("coco", {f"{kind}_{ap}" for kind in ("box", "mask") for ap in ("AP", "AP50", "AP75")}),
        ("masks", {"mIoU", "aAcc"}),
    ],
)
def test_a_job_leaves_its_record(
    weights: Path, data: Path, tmp_path: Path, name: str, metrics: set[str]
) -> None:
    record = worker.run(job(weights, data, tmp_path, name))
    assert set(record["metrics"]) == metrics
    assert all(0 <= value <= 100 for value in record["metrics"].values())
    assert record["matched"] == checkpoint.describe(weights).tensors
    assert record["images"] == 6
    assert record["operators"] in ("torchvision", "compiled")
    assert {"mmengine", "mmdet", "torch"} <= set(record["versions"])
    assert record["counts"].get("train_boxes_without_mask", 0) == (1 if name == "coco" else 0)
    assert set(record["per_class"]) == ({"0", "1"} if name == "masks" else {"square"})
    means = {"voc": "AP50", "coco": "box_AP", "masks": "mIoU"}
    mean = sum(record["per_class"].values()) / len(record["per_class"])
    assert mean == pytest.approx(record["metrics"][means[name]])
    assert len(load(tmp_path / "pictures")["drawn"].images) == 6  # type: ignore[union-attr]
    assert not (tmp_path / "kept").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("voc", {"boxes.json"}),
        ("coco", {"results.bbox.json", "results.segm.json"}),
        ("masks", {f"labels/{i}.png" for i in range(6)}),
    ],
)
def test_predictions_and_weights_are_kept_where_they_are_asked_for(
    weights: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: set[str]
) -> None:
    monkeypatch.setenv("ZOO_KEEP", "predictions, weights")
    worker.run(job(weights, data, tmp_path, name))
    kept = {str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*.*")}
    assert kept == {*files, "network.safetensors"}
    if name == "voc":
        found = json.loads((tmp_path / "kept" / "boxes.json").read_text())
        assert {one["image_id"] for one in found} == set("012345")
        assert found[0]["category"] == "square"


def test_an_unknown_word_of_what_to_keep_is_said_before_the_training(
    weights: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_KEEP", "weight")
    with pytest.raises(Fault, match="unknown word 'weight' in ZOO_KEEP; did you mean weights"):
        worker.run(job(weights, data, tmp_path, "voc"))


def last_checkpoint(work: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(work / "iter_4.pth", weights_only=True)["state_dict"]
    return state


@pytest.mark.slow
def test_the_same_seed_repeats_the_run_and_another_does_not(
    weights: Path, data: Path, tmp_path: Path
) -> None:
    runs = {name: tmp_path / name for name in ("first", "again", "other")}
    for name, work in runs.items():
        worker.run(job(weights, data, work, "voc", seed=int(name == "other")))
    first, again, other = (last_checkpoint(work) for work in runs.values())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.slow
@pytest.mark.case(3)
@pytest.mark.parametrize("name", ["masks", "voc"])
def test_an_interrupted_run_goes_on_from_mms_last_checkpoint_to_the_bit(
    weights: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from benchmarks.mm.worker.hooks import Watch

    whole = Watch.after_train_iter
    done: list[int] = []

    def interrupted(self: Any, runner: Any, *args: Any, **kwargs: Any) -> None:
        done.append(runner.iter)
        if len(done) == 3:
            raise KeyboardInterrupt
        whole(self, runner, *args, **kwargs)

    monkeypatch.setattr(Watch, "after_train_iter", interrupted)
    with pytest.raises(KeyboardInterrupt):
        worker.run(job(weights, data, tmp_path / "cut", name))
    record = worker.run(job(weights, data, tmp_path / "cut", name))
    assert done == [0, 1, 2, 2, 3] or done == [0, 1, 2, 3]
    assert record["matched"] == checkpoint.describe(weights).tensors
    monkeypatch.undo()
    assert worker.run(job(weights, data, tmp_path / "whole", name))["metrics"] == record["metrics"]
    cut, uncut = (last_checkpoint(tmp_path / run) for run in ("cut", "whole"))
    assert all(torch.equal(cut[tensor], uncut[tensor]) for tensor in uncut)
