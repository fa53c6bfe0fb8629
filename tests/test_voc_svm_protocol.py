"""The two SVM protocols on given features: choices and their honest twins, classes that are too few."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import features
from benchmarks.contract.score import Score
from benchmarks.contract.task import Outcome, Task
from benchmarks.protocols.voc_svm import protocol as voc_svm
from benchmarks.protocols.voc_svm import run as svm_run
from benchmarks.protocols.voc_svm.protocol import COSTS
from benchmarks.solvers.voc_svm import full_svm, low_shot_svm
from pretrain.base.faults import Fault
from pretrain.base.settings import changed, override
from pretrain.data.split import Split
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from tests import gloo
from tests.test_voc_svm import FEW, Data, three_classes

CLASSES = ("cat", "dog", "owl")
SVM, LOW_SHOT = (changed(p.settings, costs=FEW) for p in voc_svm.PAPER)


def task(root: Path, data: Data, number: int, **settings: Any) -> Task:
    """The SVM (0) or low-shot (1) of three classes, whose features `layers` gives."""
    path = root / "backbone.safetensors"
    backbone = build("resnet10_narrow", Input(size=8, resize=8), 0)
    checkpoint.save(path, backbone, "resnet10_narrow", {})
    splits = {
        role: Split(f"voc07/{role}", root, ("",) * len(label), label.numpy(), CLASSES[: label.shape[1]])
        for role, label in (("train", data.train_label), ("test", data.test_label))
    }
    given = changed((SVM, LOW_SHOT)[number], **settings)
    return Task(
        protocol=replace(voc_svm.PAPER[number], settings=given),
        backbone=backbone, checkpoint=path, splits=splits, fingerprints=dict.fromkeys(splits, ""), roots={},
        work=root, cache=root, seed=0, device=torch.device("cpu"), report=lambda *_: None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Data:
    return three_classes()


@pytest.fixture
def layers(data: Data, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Tensor]]:
    """Features of five layers: training rows are cleanest in the third, test rows in the fifth but one."""
    g = torch.Generator().manual_seed(3)
    noise = {"train": (3, 2, 0, 1, 2), "test": (3, 2, 1, 0, 2)}
    made = {
        role: [x + 0.4 * n * torch.randn(x.shape, generator=g) for n in noise[role]]
        for role, x in (("train", data.train_x), ("test", data.test_x))
    }

    def pooled(_: Task, role: str, *__: Any) -> list[NDArray[np.float32]]:
        return [x.numpy() for x in made[role]]

    monkeypatch.setattr(features, "pooled", pooled)
    return made


def relabelled(data: Data, role: str, column: int, keep: int) -> Data:
    """The data with all but the first positives of a class made negatives."""
    label = (data.train_label if role == "train" else data.test_label).clone()
    label[(label[:, column] == 1).nonzero()[keep:, 0], column] = 0
    return replace(data, train_label=label) if role == "train" else replace(data, test_label=label)


def by_name(out: Outcome) -> dict[str, Score]:
    return {score.name: score for score in out.scores}


def test_beside_the_best_layer_on_test_stands_the_one_that_training_images_choose(
    tmp_path: Path, data: Data, layers: dict[str, list[Tensor]]
) -> None:
    out = svm_run.run(task(tmp_path, data, 0))
    found = by_name(out)
    pairs = zip(layers["train"], layers["test"], strict=True)
    svms = [full_svm(x, data.train_label, t, data.test_label, FEW) for x, t in pairs]
    means = [100 * svm.average_precision.mean().item() for svm in svms]
    trained = [max(svm.held_out[q]) for svm in svms for q in range(3)]
    sums = [float(sum(trained[3 * i : 3 * i + 3])) for i in range(5)]
    published, honest = int(np.argmax(means)), int(np.argmax(sums))
    assert published != honest
    assert found["mAP"].value == pytest.approx(means[published])
    assert found["mAP"].honest == "mAP_honest"
    assert found["mAP"].selected_on_its_split
    twin = found["mAP_honest"]
    assert twin.value == pytest.approx(means[honest])
    assert twin.selection is not None
    assert twin.selection.choice == f"feature{honest + 1}"
    assert not twin.selected_on_its_split
    assert list(twin.selection.among.values()) == pytest.approx(means)
    assert list(out.facts["cross_validated"].values()) == pytest.approx([100 * x / 3 for x in sums])


def test_the_honest_low_shot_value_is_on_the_layer_that_training_images_choose(
    tmp_path: Path, data: Data, layers: dict[str, list[Tensor]]
) -> None:
    out = svm_run.run_low_shot(task(tmp_path, data, 1, ks=(1, 2), samples=2))
    found, facts = by_name(out), out.facts
    assert facts["layer"] != facts["layer_honest"]
    for layer, name in ((facts["layer"], "k{}"), (facts["layer_honest"], "k{}_honest")):
        x, t = (layers[role][int(layer[-1]) - 1] for role in ("train", "test"))
        for shot in low_shot_svm(x, data.train_label, t, data.test_label, FEW, (1, 2), samples=2):
            draws = shot.chosen_on_held_out if "honest" in name else shot.chosen_on_test
            assert draws is not None
            assert found[name.format(shot.k)].value == pytest.approx(100 * draws.mean)
            assert found[name.format(shot.k)].note == f"on {layer}"
    assert found["k1"].honest == "k1_honest"
    assert not out.missing


@pytest.mark.usefixtures("layers")
def test_a_k_that_a_class_has_too_few_images_for_is_missing_and_the_others_stand(
    tmp_path: Path, data: Data
) -> None:
    few = relabelled(data, "train", 1, keep=4)
    out = svm_run.run_low_shot(task(tmp_path, few, 1, ks=(1, 2, 5), samples=2, negatives=4))
    assert set(by_name(out)) == {"k1", "k1_honest", "k2", "k2_honest"}
    assert set(out.missing) == {"k5", "k5_honest"}
    said = r"voc07/train has too few images of 'dog' \(4 positive, \d+ negative\); k=5 needs 5 and 20"
    assert re.fullmatch(said, out.missing["k5"])


@pytest.mark.usefixtures("layers")
def test_a_k_with_too_few_negatives_is_missing_too(tmp_path: Path, data: Data) -> None:
    out = svm_run.run_low_shot(task(tmp_path, data, 1, ks=(1, 5), samples=1))  # 95 of 100 rows to be negative
    assert set(by_name(out)) == {"k1", "k1_honest"}
    assert "'owl' (" in out.missing["k5"]
    assert out.missing["k5"].endswith("k=5 needs 5 and 95")


@pytest.mark.parametrize("role", ["train", "test"])
def test_a_class_without_positives_leaves_only_reasons(tmp_path: Path, data: Data, role: str) -> None:
    none = relabelled(data, role, 2, keep=0)
    out = svm_run.run_low_shot(task(tmp_path, none, 1, ks=(1, 2)))
    assert not out.scores
    assert set(out.missing) == {"k1", "k1_honest", "k2", "k2_honest"}
    assert f"voc07/{role} has too few images of 'owl' (0 positive" in out.missing["k1"]


@pytest.mark.usefixtures("layers")
def test_an_honest_cost_that_nothing_is_left_to_choose_on_is_missing(tmp_path: Path, data: Data) -> None:
    alone = replace(data, train_label=data.train_label[:, :1], test_label=data.test_label[:, :1])
    three = relabelled(alone, "train", 0, keep=3)
    out = svm_run.run_low_shot(task(tmp_path, three, 1, ks=(2, 3), samples=2, negatives=4))
    assert set(by_name(out)) == {"k2", "k2_honest", "k3"}
    assert by_name(out)["k3"].honest == ""
    assert "takes every positive image of every class" in out.missing["k3_honest"]


@pytest.mark.parametrize(
    ("role", "keep", "folds", "said"),
    [
        (
            "train",
            2,
            3,
            r"voc07/train .* 'owl' \(2 positive, 98 negative\); 3 folds .* or set voc07_svm.folds=2$",
        ),
        ("train", 1, 3, r"voc07/train .* 'owl' \(1 positive, 99 negative\); 3 folds .*; add images$"),
        ("test", 0, 3, r"voc07/test .* 'owl' \(0 positive, \d+ negative\); without a positive"),
    ],
)
def test_a_class_that_cannot_be_judged_is_named(
    tmp_path: Path, data: Data, role: str, keep: int, folds: int, said: str
) -> None:
    with pytest.raises(Fault, match=said) as raised:
        svm_run.run(task(tmp_path, relabelled(data, role, 2, keep), 0, folds=folds))
    assert raised.value.reason == "bad-config"


@pytest.mark.parametrize(
    ("number", "field", "given", "said"),
    [
        (1, "ks", [2, 1], r"ks must rise, got \[2, 1\]"),
        (1, "ks", [1, 1], r"ks must rise, got \[1, 1\]"),
        (1, "ks", [0, -3], r"ks.0: expected at least 1, got 0"),
        (0, "costs", [1, 10, 1], "costs must differ from each other"),
        (1, "costs", [1, 10, 1], "costs must differ from each other"),
        (0, "costs", [1e-200, 1], r"costs.0: expected at least 1e-30, got 1e-200"),
    ],
)
def test_settings_that_make_no_sense_are_refused(number: int, field: str, given: Any, said: str) -> None:
    with pytest.raises(Fault, match=said):
        override((SVM, LOW_SHOT)[number], {field: given}, "voc07")


@pytest.mark.usefixtures("layers")
def test_a_cost_that_cannot_be_solved_is_said_to_be_too_large(tmp_path: Path, data: Data) -> None:
    given = task(tmp_path, data, 0, costs=(1e25,))
    with pytest.raises(Fault, match="lower the largest cost") as raised:
        svm_run.run(given)
    assert raised.value.reason == "bad-config"


def test_costs_are_named_with_as_many_digits_as_tell_them_apart() -> None:
    assert svm_run.cost_names(COSTS)[3] == "C=0.0625"
    assert svm_run.cost_names(COSTS)[-1] == "C=1.91e-06"
    assert svm_run.cost_names((1.0, 1.0001)) == ["C=1", "C=1.0001"]
    assert len(set(svm_run.cost_names((0.1, 0.1 + 2e-17, 0.1 + 4e-17)[::2]))) == 2


def both(svm: Task, low_shot: Task) -> list[dict[str, Any]]:
    """Values and facts of the two protocols."""
    outs = svm_run.run(svm), svm_run.run_low_shot(low_shot)
    return [{**{s.name: s.value for s in out.scores}, "facts": out.facts} for out in outs]


@pytest.mark.usefixtures("layers")
def test_processes_share_out_layers_and_ks_and_find_what_one_finds(tmp_path: Path, data: Data) -> None:
    places = [tmp_path / name for name in ("alone", "together")]
    for place in places:
        place.mkdir()
    asked = [[task(place, data, 0), task(place, data, 1, ks=(1, 2), samples=2)] for place in places]
    alone = both(*asked[0])
    assert gloo.run(both, 2, tmp_path, *asked[1]) == [alone] * 2
    assert len(list((tmp_path / "together").glob("*/*.json"))) == 1  # the full SVM, for both
