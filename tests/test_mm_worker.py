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

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from benchmarks.contract.pictures import load
from benchmarks.mm.bridge.job import Job
from benchmarks.mm.bridge.settings import Detection, Segmentation
from benchmarks.mm.worker import main as worker
from benchmarks.mm.worker import ops
from benchmarks.protocols.detection import protocol as detection
from benchmarks.protocols.segmentation import protocol as segmentation
from pretrain.base.faults import Fault
from pretrain.base.settings import changed
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build

pytest.importorskip("mmengine", reason="mmdet and mmsegmentation are not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # the mm packages warn when they are imported

SIDE = 40  # px; mmdet leaves images below 32 out


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
    path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    checkpoint.save(path, build("resnet10_narrow", Input(size=32, resize=32), seed=5), "resnet10_narrow", {})
    return path


def scene(rng: np.random.Generator) -> tuple[Image.Image, list[int]]:
    """Noise with one bright square, and the square's x1, y1, x2, y2."""
    image = Image.fromarray(rng.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8))
    x, y = rng.integers(2, SIDE - 18, 2).tolist()
    ImageDraw.Draw(image).rectangle((x, y, x + 14, y + 14), (250, 240, 230))
    return image, [x, y, x + 14, y + 14]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scenes as VOC 2007 boxes, COCO instances (one without a mask) and VOC 2012 masks."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    folders = ("VOC2007/JPEGImages", "VOC2007/Annotations", "VOC2012/JPEGImages", "VOC2012/SegmentationClass")
    lists = ("VOC2007/ImageSets/Main/trainval.txt", "VOC2012/ImageSets/Segmentation/train.txt")
    for folder in (*folders, "train2017", "annotations"):
        (root / folder).mkdir(parents=True)
    annotations = []
    for i in range(6):
        image, (x1, y1, x2, y2) = scene(rng)
        for folder in (folders[0], folders[2], "train2017"):
            image.save(root / folder / f"{i}.jpg")
        corners = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2 + 1}</xmax><ymax>{y2 + 1}</ymax>"
        thing = f"<object><name>square</name><bndbox>{corners}</bndbox></object>"
        (root / folders[1] / f"{i}.xml").write_text(f"<annotation>{thing}</annotation>")
        mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
        mask[y1 : y2 + 1, x1 : x2 + 1] = 1
        Image.fromarray(mask).save(root / folders[3] / f"{i}.png")
        outline = [[x1, y1, x2, y1, x2, y2, x1, y2]] if i else []
        annotations.append({"id": i + 1, "image_id": i, "category_id": 3, "segmentation": outline})
        annotations[-1] |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": 196, "iscrowd": 0}
    for path in map(root.joinpath, lists):
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"{i}\n" for i in range(6)))
    images = [{"id": i, "file_name": f"{i}.jpg", "width": SIDE, "height": SIDE} for i in range(6)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "square"}]}
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    return root


TINY: dict[str, Any] = {"batch_size": 2, "reference_batch": 2}
BOXES: dict[str, Any] = {**TINY, "train_sides": (32,), "test_side": 32, "long_side": 32, "region": 4}
MASKS: dict[str, Any] = {
    **TINY,
    "train_lists": (("train", "SegmentationClass"),),
    "classes": 2,
    "scale": (32, 32),
}
SETTINGS: dict[str, Detection | Segmentation] = {
    "voc": changed(
        detection.TINY[0].settings,
        **{
            **BOXES,
            "train_lists": ("VOC2007/trainval",),
            "test_list": "VOC2007/trainval",
            "length": 4,
            "drops": (3,),
        },
    ),
    "coco": changed(
        detection.TINY[1].settings,
        **{**BOXES, "test_list": "train2017", "length": 1, "drops": (), "roi_samples": 16},
    ),
    "masks": changed(
        segmentation.TINY[0].settings,
        **{**MASKS, "test_list": ("train", "SegmentationClass"), "crop": 32},
        iterations=4,
    ),
}


def job(weights: Path, data: Path, work: Path, name: str, seed: int = 0) -> Job:
    sha256 = checkpoint.describe(weights).sha256
    work.mkdir(parents=True, exist_ok=True)
    return Job(
        weights=weights, sha256=sha256, root=data, work=work, seed=seed, gpus=0, settings=SETTINGS[name]
    )


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
def test_an_interrupted_run_goes_on_from_mms_last_checkpoint(
    weights: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        worker.run(job(weights, data, tmp_path, "masks"))
    record = worker.run(job(weights, data, tmp_path, "masks"))
    assert done == [0, 1, 2, 2, 3] or done == [0, 1, 2, 3]
    assert record["matched"] == checkpoint.describe(weights).tensors


def test_faults_of_data_reach_the_parent(weights: Path, data: Path, tmp_path: Path) -> None:
    from benchmarks.mm.bridge import job as jobs

    asked = job(weights, data, tmp_path, "masks")
    jobs.write(tmp_path / "job.json", changed(asked, settings=changed(asked.settings, classes=1)))
    assert worker.main(tmp_path / "job.json") == 1
    told = json.loads((tmp_path / "fault.json").read_text())
    assert told["reason"] == "data-corrupt"
    assert "6 of 6 masks hold ids [1], expected 0 to 0 or 255" in told["message"]


def emptied(root: Path, name: str) -> Path:
    """The data set in files of their own, its annotations without objects: the second VOC list's, or all of
    COCO's.
    """
    if name == "coco":
        path = root / "annotations" / "instances_train2017.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
        return root
    shutil.copytree(root / "VOC2007", root / "VOC2012", dirs_exist_ok=True)
    for path in (root / "VOC2012" / "Annotations").iterdir():
        path.write_text("<annotation></annotation>")
    return root


@pytest.mark.parametrize(
    ("name", "lists", "said"),
    [
        ("coco", {}, "instances_train2017.json: none of its 6 images has a box to train on"),
        (
            "voc",
            {"train_lists": ("VOC2007/trainval", "VOC2012/trainval")},
            "VOC2012/.*: none of its 6 images has a box to train",
        ),
        ("voc", {"test_list": "VOC2012/trainval"}, "VOC2012/.*: none of its 6 images has a box to test on"),
    ],
)
def test_boxes_are_expected_before_training(
    weights: Path, data: Path, tmp_path: Path, name: str, lists: dict[str, Any], said: str
) -> None:
    root = emptied(Path(shutil.copytree(data, tmp_path / "data")), name)
    asked = job(weights, root, tmp_path / "work", name)
    with pytest.raises(Fault, match=said) as error:
        worker.run(changed(asked, settings=changed(asked.settings, **lists)))
    assert error.value.reason == "data-corrupt"


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ValueError("what happened"), "worker-crash"), (torch.OutOfMemoryError("too much"), "oom-gpu")],
)
def test_errors_nobody_foresaw_reach_the_parent(
    weights: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    from benchmarks.mm.bridge import job as jobs

    def fail(job: Job) -> None:
        raise error

    monkeypatch.setattr(worker, "run", fail)
    jobs.write(tmp_path / "job.json", job(weights, data, tmp_path, "masks"))
    assert worker.main(tmp_path / "job.json") == 1
    told = json.loads((tmp_path / "fault.json").read_text())
    assert (told["reason"], told["crash"]) == (reason, True)
    assert told["message"].endswith(str(error))
    monkeypatch.setattr(worker, "run", lambda job: 1 / 0)  # a second process, whose group is broken
    assert worker.main(tmp_path / "job.json") == 1
    assert json.loads((tmp_path / "fault.json").read_text()) == told


def test_a_score_that_is_not_finite_is_a_fault(tmp_path: Path) -> None:
    ops.install()
    from benchmarks.mm.worker.hooks import Watch

    with pytest.raises(Fault, match="the test's mIoU came out as nan") as error:
        Watch(tmp_path, tmp_path).after_val_epoch(None, {"mIoU": float("nan"), "aAcc": 1.0})
    assert error.value.reason == "nan"


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run(
    weights: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.mm.worker import hooks

    monkeypatch.setattr(hooks, "LOOK", 1)
    asked = job(weights, data, tmp_path, "masks")
    with pytest.raises(Fault, match="the loss is nan at iteration") as error:
        worker.run(changed(asked, settings=changed(asked.settings, lr=1e30)))
    assert error.value.reason == "nan"


@pytest.mark.slow
def test_weights_are_checked_before_the_first_step(
    weights: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.run(job(weights, data, tmp_path / "warm", "masks"))  # registers the modules
    from benchmarks.mm.worker.backbone import ZooBackbone

    built = ZooBackbone.__init__

    def forgetful(self: Any, *args: Any, **kwargs: Any) -> None:
        built(self, *args, **kwargs)
        torch.nn.init.normal_(self.net.conv1.weight)

    monkeypatch.setattr(ZooBackbone, "__init__", forgetful)
    with pytest.raises(Fault, match=r"1 of \d+ tensors differ from") as error:
        worker.run(job(weights, data, tmp_path / "cold", "masks"))
    assert error.value.reason == "weights-mismatch"
