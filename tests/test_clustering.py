"""Clustering and k-NN of frozen features on data that they cannot be judged on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.task import Outcome, Task
from benchmarks.protocols.clustering import protocol as clustering
from benchmarks.protocols.clustering import run as clustering_run
from benchmarks.protocols.knn import protocol as knn
from benchmarks.protocols.knn import run as knn_run
from pretrain.base.faults import Fault
from pretrain.base.settings import changed, override
from pretrain.data.sets import imagenet
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from tests import gloo, scenes


def task(root: Path, protocol: Protocol, classes: int = 2, **settings: Any) -> Task:
    """A protocol with other settings, on four images per class and an untrained backbone."""
    images = scenes.folder(root / "images", 4, classes)
    backbone = build("resnet10_narrow", Input(size=16, resize=16), 0)
    path = root / "backbone.safetensors"
    checkpoint.save(path, backbone, "resnet10_narrow", {})
    splits = {role: imagenet.read(images, role) for role in protocol.data}
    return Task(
        protocol=replace(protocol, settings=changed(protocol.settings, **settings)),
        backbone=backbone, checkpoint=path, splits=splits, fingerprints=dict.fromkeys(splits, ""), roots={},
        work=root, cache=root, seed=0, device=torch.device("cpu"), report=lambda *_: None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("run", "protocol", "split"),
    [(clustering_run.run, clustering.SMOKE[0], "val"), (knn_run.run, knn.SMOKE[0], "train")],
)
def test_images_of_one_class_are_refused(
    tmp_path: Path, run: Callable[[Task], Outcome], protocol: Protocol, split: str
) -> None:
    said = rf"{protocol.name}: images/{split} .* has images of the one class 'class0', expected two classes"
    with pytest.raises(Fault, match=said) as raised:
        run(task(tmp_path, protocol, classes=1))
    assert raised.value.reason == "bad-config"


def test_clustering_of_one_image_of_each_class_is_refused(tmp_path: Path) -> None:
    few = task(tmp_path, clustering.SMOKE[0])
    val = few.splits["val"]
    assert val.labels is not None
    one = replace(val, files=val.files[::4], labels=val.labels[::4])
    with pytest.raises(Fault, match=r"clustering: images/val .* has one image of each class, expected more"):
        clustering_run.run(replace(few, splits={"val": one}))


def test_clustering_of_two_classes_has_as_many_clusters(tmp_path: Path) -> None:
    out = clustering_run.run(task(tmp_path, clustering.SMOKE[0]))
    assert out.facts == {"clusters": 2}
    assert [score.name for score in out.scores] == ["nmi", "ami", "ari", "purity"]


def test_more_neighbours_than_training_images_are_missing_with_a_reason(tmp_path: Path) -> None:
    out = knn_run.run(task(tmp_path, knn.SMOKE[0], ks=(3, 8, 9)))
    assert {score.name for score in out.scores} == {f"k{k}_top{t}" for k in (3, 8) for t in (1, 5)}
    assert set(out.missing) == {f"k9_top{t}" for t in (1, 5)}
    assert out.missing["k9_top1"] == "images/train has 8 images, fewer than k=9"


def test_no_neighbours_at_all_leave_only_reasons(tmp_path: Path) -> None:
    out = knn_run.run(task(tmp_path, knn.SMOKE[0], ks=(10, 20)))
    assert not out.scores
    assert set(out.missing) == {f"k{k}_top{top}" for k in (10, 20) for top in (1, 5)}


@pytest.mark.parametrize("ks", [[20, 10], [10, 10], [0, 10], [10, -3], []])
def test_ks_that_do_not_rise_from_one_are_refused(ks: list[int]) -> None:
    with pytest.raises(Fault, match="imagenet_knn") as raised:
        override(knn.PAPER[0].settings, {"ks": ks}, "imagenet_knn")
    assert raised.value.reason == "bad-config"


def agreements(given: Task) -> dict[str, float]:
    return {score.name: score.value for score in clustering_run.run(given).scores}


def test_processes_cluster_their_rows_and_find_what_one_finds(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("alone", "together")]
    alone, shared = (task(place, clustering.SMOKE[0], classes=3) for place in places)
    assert gloo.run(agreements, 3, tmp_path, shared) == [agreements(alone)] * 3
