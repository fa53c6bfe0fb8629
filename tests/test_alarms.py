"""What makes a number doubtful is said: dead weights, features that say nothing, images on both sides."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.protocols.knn import protocol as knn
from pretrain.data.view import Input
from pretrain.nets.archs import build
from tests import scenes
from zoo.jobs.alarms import alarms
from zoo.plan.datasets import Datasets
from zoo.suites.suite import Reference, Suite

KNN = knn.SMOKE[0]


@pytest.fixture
def datasets(tmp_path: Path) -> Datasets:
    images = scenes.folder(tmp_path / "images", per_class=4)
    return Datasets(
        Suite(name="own", variant="smoke", root=tmp_path, data={"imagenet": images}), tmp_path / "known"
    )


def found(datasets: Datasets, dead: str = "", pretrained_on: Reference | None = None) -> list[str]:
    backbone = build("resnet10_narrow", Input(size=16, resize=16), 0)
    with torch.no_grad():
        for name, weight in backbone.named_parameters():
            if dead and name.endswith(dead):
                weight.zero_()
    for reference in [*KNN.data.values(), *([pretrained_on] if pretrained_on else [])]:
        datasets.identity(reference)
    splits = {role: datasets.split(reference) for role, reference in KNN.data.items()}
    return alarms(KNN, backbone, splits, datasets, torch.device("cpu"), pretrained_on)


def test_there_is_nothing_to_say_of_sound_weights_and_data(datasets: Datasets) -> None:
    assert found(datasets) == []


@pytest.mark.case(10)
def test_dead_weights_and_the_features_they_give_are_said(datasets: Datasets) -> None:
    zero, same = found(datasets, dead="conv1.weight")
    assert "weights are all zero, first " in zero
    assert same == "the features of 12 different images of images/val are all the same"


@pytest.mark.case(44)
def test_images_are_counted_where_nothing_can_be_remembered(datasets: Datasets) -> None:
    datasets.fingerprints.memory.write_text("a file where a folder is expected")
    images = datasets.suite.folder("imagenet")
    shutil.copy(images / "train/class0/000.png", images / "val/class0/000.png")
    assert found(datasets) == ["1 images of images/val are among those of images/train"]


@pytest.mark.case(44)
def test_a_validation_image_that_was_trained_on_is_counted(datasets: Datasets) -> None:
    images = datasets.suite.folder("imagenet")
    shutil.copy(images / "train/class0/000.png", images / "val/class0/000.png")
    shutil.copy(images / "train/class1/002.png", images / "val/class1/other.png")
    shutil.copy(images / "train/class1/002.png", images / "val/class1/again.png")
    assert found(datasets) == ["3 images of images/val are among those of images/train"]


@pytest.mark.case(44)
def test_validation_images_that_the_backbone_was_pretrained_on_are_counted(datasets: Datasets) -> None:
    images = datasets.suite.folder("imagenet")
    said = f"12 images of images/val are among those of the pretraining, {images}"
    assert found(datasets, pretrained_on=images) == [said]
    assert found(datasets, pretrained_on="imagenet/val") == [said.replace(str(images), "imagenet/val")]
    assert found(datasets, pretrained_on="imagenet/train") == []
    shutil.copy(images / "train/class0/000.png", images / "val/class0/000.png")
    again = Datasets(datasets.suite, datasets.fingerprints.memory)
    assert len(found(again, pretrained_on="imagenet/train")) == 1, "once, of the benchmark's own split"
