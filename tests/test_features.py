"""Features are computed once for all that want them, and are the same in any number of processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks import features
from benchmarks.contract.task import Task
from benchmarks.protocols.clustering import protocol as clustering
from benchmarks.protocols.knn import protocol as knn
from benchmarks.protocols.knn.run import run as run_knn
from pretrain.base.faults import Fault
from pretrain.data.sets import imagenet
from pretrain.data.view import Input, centre_view
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from tests import gloo, scenes

GIVEN = Input(size=8, resize=8)
VIEW = centre_view(GIVEN)


def task(root: Path, home: str = "cache", **changes: Any) -> Task:
    """k-NN on a few images and an untrained network; home: where its features are kept."""
    if not (root / "images").exists():
        scenes.folder(root / "images", per_class=7, size=8)
    backbone = build("resnet10_narrow", GIVEN, 0)
    path = root / "backbone.safetensors"
    checkpoint.save(path, backbone, "resnet10_narrow", {})
    splits = {role: imagenet.read(root / "images", role) for role in ("train", "val")}
    settings = knn.KnnSettings(ks=(1, 5))
    return replace(
        Task(
            protocol=replace(knn.SMOKE[0], settings=settings), checkpoint=path, backbone=backbone, splits=splits,
            fingerprints={role: role for role in splits}, roots={}, work=root / "work", cache=root / home,
            seed=0, device=torch.device("cpu"), report=lambda *_: None,
        ),
        **changes,
    )  # fmt: skip


def images_seen(given: Task) -> list[int]:
    """How many images go through the backbone in each batch, from now on; blanks, of one, left out."""
    seen: list[int] = []

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.extend([len(inputs[0])] * (len(inputs[0]) > 1))

    next(given.backbone.modules()).register_forward_pre_hook(count)
    return seen


def test_protocols_of_other_versions_and_packages_share_one_extraction(tmp_path: Path) -> None:
    given = task(tmp_path)
    seen = images_seen(given)
    features.average(given, "val", VIEW)
    other = replace(given, protocol=replace(clustering.SMOKE[0], packages=("torch", "scikit-learn")))
    assert given.protocol.version != other.protocol.version
    features.average_rows(other, "val", VIEW)
    assert seen == [21]
    tf32 = replace(given, protocol=replace(given.protocol, numerics="tf32"))
    features.average_rows(tf32, "val", VIEW)
    assert seen == [21, 21]


def test_features_are_those_of_the_backbone_in_the_order_of_the_split(tmp_path: Path) -> None:
    given = task(tmp_path)
    rows = features.average_rows(given, "val", VIEW)
    loader = features.open_loader(given.splits["val"], [VIEW], GIVEN, 0, given.device)
    (batch,) = loader.batches(np.arange(21), 256, epoch=0)
    with torch.no_grad():
        expected = given.backbone.eval()(features.channels_last(batch.views[0])).numpy()
    assert np.array_equal(rows, expected)
    assert torch.equal(features.average(given, "val", VIEW), torch.from_numpy(expected))
    rounded = features.average_rows(given, "val", VIEW, "float16")
    assert np.array_equal(rounded, expected.astype(np.float16))


def extracted(root: Path, home: str) -> tuple[list[Tensor], list[float]]:
    """What one of several processes sees: pooled features of five layers, and the scores of k-NN."""
    given = task(root, home)
    arrays = features.pooled(given, "val", VIEW, 64)
    return [torch.from_numpy(np.array(a)) for a in arrays], [s.value for s in run_knn(given).scores]


@pytest.mark.parametrize("batch", [4, 16, 256])
def test_two_processes_have_the_features_and_scores_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """21 images: in batches of 4 the last is of one image; in batches of 256 the second process has none."""
    monkeypatch.setattr(features, "BATCH", batch)
    alone, scores = extracted(tmp_path, "one")
    for arrays, theirs in gloo.run(extracted, 2, tmp_path, tmp_path, "two"):
        assert theirs == scores
        assert all(torch.equal(ours, one) for ours, one in zip(arrays, alone, strict=True))
    for kept in (tmp_path / "one").rglob("*.npy"):
        assert (tmp_path / "two" / kept.relative_to(tmp_path / "one")).read_bytes() == kept.read_bytes()


def test_features_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    given = task(tmp_path)
    next(iter(given.backbone.parameters())).data.fill_(torch.nan)
    with pytest.raises(Fault, match="are not finite") as said:
        features.average(given, "val", VIEW)
    assert said.value.reason == "nan"
    assert not list(given.cache.rglob("*.npy"))
