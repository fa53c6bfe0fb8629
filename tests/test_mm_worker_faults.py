"""What goes wrong in a training of mm is a fault: data, boxes, scores, losses, weights and crashes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.mm.bridge.job import Job
from benchmarks.mm.worker import main as worker
from benchmarks.mm.worker import ops
from pretrain.base import cores
from pretrain.base.faults import Fault
from pretrain.base.settings import changed
from tests import mm_jobs
from tests.mm_jobs import job
from tests.test_mm_worker import as_before

pytestmark = pytest.mark.filterwarnings("ignore")  # the mm packages warn when they are imported


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


def test_faults_of_data_reach_the_parent(weights: Path, data: Path, tmp_path: Path) -> None:
    from benchmarks.mm.bridge import job as jobs

    asked = job(weights, data, tmp_path, "masks")
    jobs.write(tmp_path / "job.json", changed(asked, settings=changed(asked.settings, classes=1)))
    assert worker.main(tmp_path / "job.json") == 1
    told = json.loads((tmp_path / "fault.json").read_text())
    assert told["reason"] == "data-corrupt"
    assert "6 of 6 masks hold ids [1], expected 0 to 0 or 255" in told["message"]


@pytest.mark.parametrize(("asked", "threads"), [("1", 1), ("", min(2, cores.runnable()))])
def test_two_threads_never_share_a_core(
    weights: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, threads: int
) -> None:
    from benchmarks.mm.bridge import job as jobs

    monkeypatch.setenv(cores.VARIABLE, asked)
    body = job(weights, data, tmp_path, "masks")
    jobs.write(tmp_path / "job.json", changed(body, settings=changed(body.settings, classes=1)))
    torch.set_num_threads(3)
    assert worker.main(tmp_path / "job.json") == 1
    assert torch.get_num_threads() == threads


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
