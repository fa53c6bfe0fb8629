"""Each protocol's arithmetic against a literal definition, hand-computed cases and the published settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf

from benchmarks import features
from benchmarks.contract.protocol import catalogue
from benchmarks.contract.task import Task
from benchmarks.mm.bridge.archs import RESNETS
from benchmarks.protocols.detection import protocol as detection
from benchmarks.protocols.knn import run as knn
from benchmarks.protocols.knn.protocol import KnnSettings
from benchmarks.protocols.segmentation import protocol as segmentation
from benchmarks.protocols.semi_supervised import protocol as semi
from benchmarks.protocols.semi_supervised.run import Setting, hold_out
from benchmarks.protocols.voc_svm import protocol as voc_svm
from benchmarks.protocols.voc_svm import run as svm_run
from benchmarks.solvers.voc_svm import FullSvm
from pretrain.data.sets import imagenet
from pretrain.data.split import Split
from pretrain.data.view import Input, View
from pretrain.nets import archs, checkpoint, plain
from pretrain.nets.archs import build
from tests import scenes

MAPS = [torch.rand(2, c, s, s) for c, s in features.RESNET50_MAPS]


def test_pooled_sizes_of_resnet50_at_224_are_the_published_ones() -> None:
    maps = build("resnet50", Input(size=224, resize=256), 0).eval().stages(torch.zeros(1, 3, 224, 224))
    assert [m[0].numel() for m in features.pool(maps)] == [9216, 9216, 8192, 9216, 8192]


def test_padding_zeros_count_in_the_mean_of_feature1() -> None:
    """The corner cell covers 6 x 6 pixels of the map and 64 zeros of the padding."""
    ones = [torch.ones_like(m) for m in MAPS]
    assert features.pool(ones)[0][0, 0, 0, 0].item() == pytest.approx(0.36)
    assert features.pool(ones)[0][0, 0, 5, 5].item() == 1


def test_other_maps_follow_the_rule_that_gives_resnet50_its_sizes() -> None:
    assert [features.grid(m, features.POOLED) for m in MAPS] == [12, 6, 4, 3, 2]
    assert features.grid(torch.zeros(1, 2048, 1, 1), 9216) == 1
    assert features.grid(torch.zeros(1, 20_000, 7, 7), 9216) == 1


def literal_knn(bank: Any, y: Any, queries: Any, k: int, t: float) -> list[list[float]]:
    """Class scores, one neighbour at a time."""
    scores = []
    for query in queries:
        cosines = [float(query @ row / (query.norm() * row.norm())) for row in bank]
        nearest = sorted(range(len(bank)), key=lambda i: -cosines[i])[:k]
        votes = [0.0] * (int(y.max()) + 1)
        for i in nearest:
            votes[int(y[i])] += float(np.exp(cosines[i] / t))
        scores.append(votes)
    return scores


@pytest.mark.parametrize("chunk_bytes", [1, 700, 1 << 20])
@pytest.mark.parametrize("k", [1, 5, 1000])
@pytest.mark.case(18, 43, 45)
def test_knn_equals_its_literal_definition_in_any_chunks(chunk_bytes: int, k: int) -> None:
    g = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(60, 8, generator=g), torch.randn(17, 8, generator=g)
    y = torch.randint(0, 9, (60,), generator=g) * 2  # class ids are not dense
    settings = KnnSettings(ks=(k,))
    ranked = knn.vote(bank, y, queries, settings, chunk_bytes)[0]
    for row, votes in zip(ranked.tolist(), literal_knn(bank, y, queries, k, 0.07), strict=True):
        assert votes[row[0]] == pytest.approx(max(votes), rel=1e-4)
        assert [votes[c] for c in row] == pytest.approx(sorted(votes, reverse=True)[:5], rel=1e-3)


def test_knn_weights_matter() -> None:
    """One very close neighbour of class 0 outvotes two far ones of class 1."""
    bank = nnf.normalize(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]]))
    ranked = knn.vote(bank, torch.tensor([0, 1, 1]), torch.tensor([[1.0, 0.0]]), KnnSettings(ks=(3,)))
    assert ranked[0][0, 0].item() == 0


def test_of_fewer_than_five_neighbours_top5_holds_no_class_without_a_vote() -> None:
    """Six classes of which the query's neighbours are 5 and 4; nobody votes for 0, the truth."""
    bank = nnf.normalize(
        torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0], [-1.0, 0.0]])
    )
    y, query = torch.tensor([5, 4, 3, 2, 1, 0]), torch.tensor([[1.0, 0.0]])
    for truth, expected in ((0, [0.0, 0.0, 0.0]), (4, [0.0, 100.0, 100.0]), (1, [0.0, 0.0, 100.0])):
        settings = KnnSettings(ks=(1, 2, 5))
        found = knn.score(bank, y, query, torch.tensor([truth]), settings, torch.device("cpu"))
        assert [one.value for one in found if one.name.endswith("top5")] == expected


def test_semi_supervised_settings_are_the_published_ones() -> None:
    one, ten = semi.PAPER
    assert (one.settings.weight_decay, ten.settings.weight_decay) == (5e-4, 1e-4)
    grid = {Setting(lr, m).name for lr in one.settings.lrs for m in one.settings.head_multipliers}
    assert grid == {f"head{m}_steplr1e-{e}" for m in (1, 10, 100) for e in (1, 2, 3)}
    schedule = one.settings.schedule
    assert [
        0.2 ** sum(e >= m for m in schedule.milestones) for e in (0, 11, 12, 15, 16, 19)
    ] == pytest.approx([1, 1, 0.2, 0.2, 0.04, 0.04])


@pytest.mark.parametrize("sizes", [(12, 13, 5), (1, 4, 2), (128, 129)])
def test_held_out_images_leave_every_class_something_to_learn_from(sizes: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    fit, held = hold_out(labels, 5)
    assert set(labels[fit]) == set(range(len(sizes)))
    assert len(held)
    assert sorted([*fit, *held]) == list(range(len(labels)))


def test_svm_settings_are_the_published_ones() -> None:
    costs = voc_svm.PAPER[0].settings.costs
    assert len(costs) == len(set(costs)) == 19
    assert (min(costs), max(costs)) == (2.0**-19, 100.0)
    assert voc_svm.PAPER[1].settings.ks == (1, 2, 4, 8, 16, 32, 64, 96)


def test_every_variant_offers_the_same_protocols() -> None:
    """Smoke leaves out what starts a foreign trainer; of that there are tiny ones to try."""
    assert list(catalogue("paper")) == list(catalogue("demo"))
    foreign = [name for name, protocol in catalogue("paper").items() if protocol.roots]
    assert list(catalogue("smoke")) == [name for name in catalogue("paper") if name not in foreign]
    assert [p.name for p in (*detection.TINY, *segmentation.TINY)] == foreign


@pytest.mark.parametrize("variant", ["paper", "demo"])
def test_foreign_trainers_run_every_resnet_and_say_why_nothing_else(variant: str) -> None:
    for protocol in catalogue(variant).values():
        unfit = {arch: fault for arch in archs.ARCHS if (fault := protocol.unfit(arch))}
        assert set(unfit) == (set(archs.ARCHS) - set(RESNETS) if protocol.roots else set())
        assert set(plain.ARCHS) <= set(unfit) or not protocol.roots
        for arch, fault in unfit.items():
            assert fault.reason == "bad-config"
            assert f"{protocol.name} runs on resnet50" in str(fault)
            assert f"architecture {arch};" in str(fault)


def task(work: Path, resize: int = 8, version: int = 1, data: str = "", **splits: Split) -> Task:
    """A task on an untrained network whose tensors are always the same; data: in place of a fingerprint."""
    path = work / f"{resize}.safetensors"
    backbone = build("resnet10_narrow", Input(size=8, resize=resize), 0).eval()
    checkpoint.save(path, backbone, "resnet10_narrow", {})
    return Task(
        protocol=replace(voc_svm.SMOKE[0], version=version),
        checkpoint=path,
        backbone=backbone,
        splits=splits,
        fingerprints={role: f"{data}{role}" for role in splits},
        roots={},
        work=work,
        cache=work / "cache",
        seed=0,
        device=torch.device("cpu"),
        report=lambda *_: None,
    )


def test_cached_features_are_those_of_one_preprocessing_and_of_their_data(tmp_path: Path) -> None:
    """Equal tensors whose headers say another resize get files of their own, for features and for SVMs."""
    split = imagenet.read(scenes.folder(tmp_path / "images", per_class=2), "val")
    for resize, data in ((8, ""), (8, ""), (12, ""), (12, "other")):
        features.average(task(tmp_path, resize, data=data, val=split), "val", View(size=8))
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 3


def test_a_cached_svm_is_of_one_preprocessing_version_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def solve(*_: Any, **__: Any) -> FullSvm:
        made.append(1)
        return FullSvm(torch.zeros(1), (1.0,), torch.zeros(1, 1))

    monkeypatch.setattr(svm_run, "full_svm", solve)
    monkeypatch.setattr(features, "pooled", lambda *_: [np.zeros((6, 1), dtype=np.float32)] * 5)
    labels = np.repeat([[0], [1]], 3, axis=0)
    split = Split("x", tmp_path, ("",) * 6, labels, ("a",))
    for resize, version, data in ((8, 1, ""), (8, 1, ""), (12, 1, ""), (12, 2, ""), (12, 2, "other")):
        svm_run.full(task(tmp_path, resize, version, data, train=split, test=split))
    assert len(made) == 4 * len(svm_run.LAYERS)
