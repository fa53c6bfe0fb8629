"""The grid of fine-tunings: names, the choice and its honest twin, the one setting of Sobel, cuDNN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.contract.score import Score
from benchmarks.contract.task import Outcome, Task
from benchmarks.protocols.semi_supervised import protocol as semi
from benchmarks.protocols.semi_supervised import run as semi_run
from benchmarks.protocols.semi_supervised import tuning
from benchmarks.protocols.semi_supervised.tuning import Setting, Trial, finetune
from pretrain.base.faults import Fault
from pretrain.base.settings import changed, override
from pretrain.data.sets import imagenet
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from pretrain.train.recipe import Step
from tests import gloo, scenes
from tests.faults.hostile import flipped

SHORT: dict[str, Any] = {"epochs": 1, "schedule": Step(), "batch_size": 8}
TWO: dict[str, Any] = {"lrs": (0.015, 0.01), "head_multipliers": (1,), **SHORT}


def task(
    root: Path,
    per_class: int = 3,
    classes: int = 2,
    front: bool = False,
    arch: str = "resnet10_narrow",
    **settings: Any,
) -> Task:
    """A smoke grid with other settings, on a few images and an untrained backbone."""
    images = scenes.folder(root / "images", per_class, classes)
    backbone = build(arch, Input(size=16, resize=16, sobel=front), 0)
    path = root / "backbone.safetensors"
    checkpoint.save(path, backbone, arch, {})
    splits = {role: imagenet.read(images, role) for role in ("train", "val")}
    return Task(
        protocol=replace(semi.SMOKE[0], settings=changed(semi.SMOKE[0].settings, **settings)),
        backbone=backbone, checkpoint=path, splits=splits, fingerprints=dict.fromkeys(splits, ""), roots={},
        work=root, cache=root, seed=0, device=torch.device("cpu"), report=lambda *_: None,
    )  # fmt: skip


def score(out: Outcome, name: str) -> Score:
    return next(score for score in out.scores if score.name == name)


@pytest.mark.parametrize(
    ("lr", "name"),
    [
        (0.1, "1e-1"),
        (0.01, "1e-2"),
        (0.001, "1e-3"),
        (0.015, "1.5e-2"),
        (0.1 + 0.2, "3.0000000000000004e-1"),
        (30.0, "3e+1"),
        (1.0, "1e+0"),
        (1e30, "1e+30"),
    ],
)
def test_a_setting_is_named_by_the_shortest_exact_rate(lr: float, name: str) -> None:
    assert Setting(lr, 10).name == f"head10_steplr{name}"
    assert float(name) == lr


def test_near_rates_are_points_and_files_of_their_own(tmp_path: Path) -> None:
    out = semi_run.run(task(tmp_path, **TWO))
    selection = score(out, "top1").selection
    assert selection is not None
    assert set(selection.among) == {"head1_steplr1.5e-2", "head1_steplr1e-2"}
    assert {path.stem for path in tmp_path.glob("val-*.json")} == {f"val-{name}" for name in selection.among}


@pytest.mark.parametrize("field", ["lrs", "head_multipliers"])
def test_a_grid_with_the_same_value_twice_is_refused(field: str) -> None:
    with pytest.raises(Fault, match=rf"{field} must differ from each other, got \[1(\.0)?, 2(\.0)?, 1"):
        override(semi.PAPER[0].settings, {field: [1, 2, 1]}, "imagenet_1pct")


def test_the_honest_choice_is_reported_at_what_it_scores_on_val() -> None:
    found = {
        "val": {"a": (60.0, 90.0), "b": (50.0, 95.0)},
        "held-out": {"a": (10.0, 20.0), "b": (30.0, 40.0)},
    }
    out = semi_run.outcome(found, 2, 7, "")
    assert [(s.name, s.value, s.honest) for s in out.scores] == [
        ("top1", 60.0, "top1_honest"),
        ("top5", 90.0, "top5_honest"),
        ("top1_honest", 50.0, ""),
        ("top5_honest", 95.0, ""),
    ]
    assert not out.missing
    selections = [s.selection for s in out.scores]
    assert [s.on for s in selections if s] == ["val", "val", *["held-out training images"] * 2]


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({}, "every setting diverged on the training images that were not held out"),
        ({"b": (30.0, 40.0)}, "b, chosen on held-out training images, diverged on all training images"),
    ],
)
def test_an_honest_choice_that_diverged_is_missing_with_a_reason(held: Any, said: str) -> None:
    out = semi_run.outcome({"val": {"a": (60.0, 90.0)}, "held-out": held}, 2, 7, "")
    assert [(s.name, s.honest) for s in out.scores] == [("top1", ""), ("top5", "")]
    assert set(out.missing) == {"top1_honest", "top5_honest"}
    assert out.missing["top1_honest"].startswith(said)


def test_an_honest_choice_that_was_not_asked_for_says_how_to_get_it(tmp_path: Path) -> None:
    missing = semi_run.run(task(tmp_path, **TWO, honest=False)).missing
    assert "imagenet_1pct.honest=true" in missing["top1_honest"]
    assert "imagenet_1pct.honest=true" in missing["top5_honest"]


def test_an_honest_choice_without_images_to_hold_out_says_so(tmp_path: Path) -> None:
    out = semi_run.run(task(tmp_path, per_class=1, **TWO, honest=True))
    assert "images/train has one image of each class" in out.missing["top1_honest"]
    assert score(out, "top1").honest == ""


def test_an_honest_choice_that_was_asked_for_is_a_twin(tmp_path: Path) -> None:
    out = semi_run.run(task(tmp_path, **TWO, honest=True))
    assert not out.missing
    assert score(out, "top1").honest == "top1_honest"
    assert score(out, "top1_honest").selection is not None


def test_a_sobel_backbone_gets_the_one_published_setting(tmp_path: Path) -> None:
    for protocol in semi.PAPER:
        assert protocol.settings.sobel == (0.01, 1)
    out = semi_run.run(task(tmp_path, front=True, **TWO, sobel=(0.01, 1), honest=True))
    assert [s.name for s in out.scores] == ["top1", "top5"]
    assert [s.selection for s in out.scores] == [None, None]
    assert out.facts["setting"] == "head1_steplr1e-2"
    assert "head1_steplr1e-2" in score(out, "top1").note
    assert not out.missing
    assert [path.name for path in tmp_path.glob("*-head*.json")] == ["val-head1_steplr1e-2.json"]


@pytest.mark.parametrize(("front", "setting"), [(False, (0.01, 1)), (True, None)])
def test_any_other_backbone_and_a_suite_without_it_get_the_grid(
    tmp_path: Path, front: bool, setting: Any
) -> None:
    tried = semi_run.points(task(tmp_path, front=front, **TWO, sobel=setting))
    assert tried == [Setting(0.015, 1), Setting(0.01, 1)]


@pytest.fixture
def cudnn() -> Iterator[Any]:
    """cuDNN's switches set the other way, and put back afterwards."""
    found: Any = torch.backends.cudnn
    kept = found.deterministic, found.benchmark
    found.deterministic, found.benchmark = False, True
    yield found
    found.deterministic, found.benchmark = kept


def test_cudnn_is_deterministic_while_it_runs_and_as_before_afterwards(tmp_path: Path, cudnn: Any) -> None:
    seen, asked = list[Any](), task(tmp_path, **TWO)
    out = semi_run.run(replace(asked, report=lambda *_: seen.append((cudnn.deterministic, cudnn.benchmark))))
    assert set(seen) == {(True, False)}
    assert (cudnn.deterministic, cudnn.benchmark) == (False, True)
    assert out.facts["cudnn"] == {"deterministic": True, "benchmark": False}


def test_cudnn_is_as_before_after_a_fault(tmp_path: Path, cudnn: Any) -> None:
    with pytest.raises(Fault, match="all 1 settings diverged"):
        semi_run.run(task(tmp_path, per_class=8, **{**TWO, "lrs": (1e30,)}))
    with pytest.raises(KeyError), semi_run.reproducible():
        raise KeyError
    assert (cudnn.deterministic, cudnn.benchmark) == (False, True)


def test_a_last_step_that_diverges_gives_no_accuracy(tmp_path: Path) -> None:
    """One step: its loss is that of the untrained network, and finite."""
    out = semi_run.run(task(tmp_path, **{**TWO, "lrs": (1e30, 0.01)}))
    assert out.facts["diverged"] == ["head1_steplr1e+30 val"]


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"imagenet_1pct: images/train .* the one class 'class0'") as raised:
        semi_run.run(task(tmp_path, classes=1, **TWO))
    assert raised.value.reason == "bad-config"


@pytest.mark.parametrize(("arch", "one"), [("resnet18", False), ("resnet10_narrow", True)])
def test_a_last_image_without_a_variance_is_left_out(tmp_path: Path, arch: str, one: bool) -> None:
    given = task(tmp_path, classes=3, arch=arch, **TWO)  # nine images, eight a batch
    assert tuning.trains_on_one(given.backbone, 16) is one
    assert len(finetune(given, semi_run.grid(given))) == 2  # any may diverge: one pixel hardly varies
    single = task(tmp_path / "1", classes=3, arch=arch, **{**TWO, "batch_size": 1})
    with nullcontext() if one else pytest.raises(Fault, match="batches of one image have no variance"):
        finetune(single, semi_run.grid(single)[:1])


FOUR: dict[str, Any] = {**SHORT, "lrs": (0.1, 0.01), "head_multipliers": (1, 10), "epochs": 2}


def weights(given: Task, trials: list[Trial]) -> list[dict[str, torch.Tensor]]:
    """Of the networks as they are after their last epoch, whose states are kept."""
    finetune(given, trials)
    return [torch.load(kept)["net"] for kept in sorted(given.work.glob("*.pt"))]


@pytest.fixture
def every_state_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are kept after every epoch, and not removed at the end."""
    monkeypatch.setattr(tuning, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(tuning.Tuning, "finish", lambda *_: None)


@pytest.mark.usefixtures("every_state_stays")
def test_trials_that_share_batches_end_as_each_does_alone_bit_for_bit(tmp_path: Path) -> None:
    given = task(tmp_path, **FOUR)
    trials = semi_run.grid(given)[:4]
    together = weights(given, trials)
    for path in tmp_path.glob("*.pt"):
        path.unlink()
    for trial in trials:
        alone = weights(given, [trial])
    assert len(together) == len(alone) == 4
    for ours, theirs in zip(together, alone, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not torch.equal(together[0]["1.weight"], together[1]["1.weight"])


def test_the_accuracies_of_trials_together_are_those_in_a_row(tmp_path: Path) -> None:
    given = task(tmp_path, **FOUR, honest=True)
    trials = semi_run.grid(given)
    in_a_row = [finetune(given, [trial])[0] for trial in trials]
    assert [*finetune(given, trials[:4]), *finetune(given, trials[4:])] == in_a_row


def test_more_networks_than_the_device_holds_train_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = task(tmp_path, **FOUR)
    trials, said = semi_run.grid(given)[:4], list[str]()
    whole = finetune(given, trials)
    monkeypatch.setattr(tuning, "AT_ONCE_BYTES", 3 * 3 * 4 * 330_000)  # of this network
    assert finetune(given, trials, said.append) == whole
    assert [line.split(" at once")[0] for line in said[::2]] == ["val, 3 settings", "val, 1 settings"]


class KilledError(Exception):
    """Stands for the end of a process."""


def test_an_interrupted_grid_goes_on_to_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = task(tmp_path, **FOUR)
    whole = semi_run.run(given)
    for path in tmp_path.glob("*-head*.json"):
        path.unlink()
    monkeypatch.setattr(tuning, "SAVE_SECONDS", 0.0)

    def killed(_: int, __: int, line: str) -> None:
        if "epoch 1/2" in line:
            raise KilledError

    with pytest.raises(KilledError):
        semi_run.run(replace(given, report=killed))
    states = sorted(tmp_path.glob("*.pt"))
    assert [torch.load(path)["epoch"] for path in states] == [1] * 4
    states[0].unlink()  # the first begins anew, the second has a flipped bit, the others go on
    flipped(states[1])
    told = list[str]()
    assert semi_run.run(replace(given, report=lambda _, __, line: told.append(line))).scores == whole.scores
    assert told[:2] == ["val, 2 settings at once: epoch 1/2", "val, 4 settings at once: epoch 2/2"]
    assert not list(tmp_path.glob("*.pt"))


def on_one_rank(given: Task) -> list[tuple[str, float, str]]:
    out = semi_run.run(given)
    return [(s.name, s.value, s.selection.choice if s.selection else "") for s in out.scores]


def test_processes_share_out_the_grid_and_find_what_one_finds(tmp_path: Path) -> None:
    given = task(tmp_path, **FOUR, honest=True)
    alone = on_one_rank(given)
    kept = {path.name: path.read_text() for path in tmp_path.glob("*-head*.json")}
    assert len(kept) == 8
    for name in sorted(kept)[1:]:  # one was finished before
        (tmp_path / name).unlink()
    assert gloo.run(on_one_rank, 2, tmp_path, given) == [alone] * 2
    assert {path.name: path.read_text() for path in tmp_path.glob("*-head*.json")} == kept
