"""Files of the user's as models: named by themselves, read as it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pretrain.base.faults import Fault
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from pretrain.nets.formats.contract import Flags
from tests import planned
from tests.formats.sources import trained
from zoo import models
from zoo import request as requests
from zoo.clusters.model import weights
from zoo.engines import inline
from zoo.engines.engine import Orders
from zoo.plan.planner import Planner
from zoo.show import explain, tables
from zoo.show.progress import Display
from zoo.suites import builtin
from zoo.suites.suite import Given, Suite, Trained


def resolve(names: list[str], path: Path | None, root: Path, **flags: Any) -> Any:
    return requests.resolve(names, None, "smoke", root / "out", [], checkpoint=path, flags=Flags(**flags))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my net (v2).pth.tar"
    torch.save(trained("resnet20").state_dict(), path)
    return path


def test_a_file_without_a_name_has_its_own(file: Path, tmp_path: Path) -> None:
    asked = resolve([], file, tmp_path, arch="resnet20")
    (entry,) = [one for one in asked.entries if isinstance(one, Given)]
    assert entry.name == "my-net-v2-.pth"
    assert asked.asked == {entry.name}
    assert resolve(["mine"], file, tmp_path, arch="resnet20").asked == {"mine"}


@pytest.mark.parametrize(
    ("stem", "name"), [("a b", "a-b"), ("../x", "x"), ("_.y", "y"), ("z" * 99, "z" * 80)]
)
def test_a_name_is_made_one_of_a_folder(stem: str, name: str) -> None:
    assert models.legal(stem) == name


def test_a_file_whose_name_has_no_letter_needs_one(file: Path, tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"'模型\.pth' has no letter.*zoo run NAME --checkpoint FILE"):
        resolve([], file.rename(tmp_path / "模型.pth"), tmp_path, arch="resnet20")


def test_a_file_of_a_methods_name_asks_for_another(file: Path, tmp_path: Path) -> None:
    with pytest.raises(Fault, match="'odc' is a model that the zoo trains; name yours otherwise"):
        resolve([], file.rename(tmp_path / "odc.pth"), tmp_path)


def test_how_a_file_is_read_can_be_told(file: Path, tmp_path: Path) -> None:
    told = {"arch": "resnet20", "size": 48, "mean": (0.1, 0.2, 0.3), "order": "bgr"}
    (entry,) = resolve(["mine"], file, tmp_path, **told).entries
    meta = checkpoint.describe(entry.path)
    assert (meta.arch, meta.input.size, meta.input.mean) == ("resnet20", 48, (0.3, 0.2, 0.1))
    assert meta.origin["flags"]["arch"] == "resnet20"
    (other,) = resolve(["mine"], file, tmp_path, arch="resnet20").entries
    assert other.path != entry.path


def test_a_part_is_refused_and_taken_when_that_is_said(file: Path, tmp_path: Path) -> None:
    state = dict(trained("resnet20").state_dict())
    del state["bn1.weight"]
    torch.save(state, file)
    with pytest.raises(Fault, match="--allow-partial"):
        resolve(["mine"], file, tmp_path, arch="resnet20")
    (entry,) = resolve(["mine"], file, tmp_path, arch="resnet20", allow_partial=0.9).entries
    assert checkpoint.describe(entry.path).origin["missing"] == ["bn1.weight"]


def test_options_without_a_file_and_words_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="--size, --allow-partial says how") as raised:
        resolve(["odc"], None, tmp_path, size=32, allow_partial=0.5)
    assert raised.value.reason == "bad-config"
    with pytest.raises(Fault, match="name a model"):
        resolve([], None, tmp_path)


@pytest.mark.case(9, 10)
def test_a_share_and_doubts_stand_in_the_record_and_in_the_table(suite: Suite, tmp_path: Path) -> None:
    entry = suite.entry("odc")
    assert isinstance(entry, Trained)
    path, recipe = tmp_path / "mine.safetensors", entry.recipe
    origin = {"layout": "moco", "share": 0.9, "warnings": ["the network looks untrained"]}
    checkpoint.save(path, build(recipe.arch, recipe.input, 0), recipe.arch, origin)
    planner = Planner(planned.request(suite, tmp_path / "home", Given("mine", path)))
    plan = planner.plan()
    few = tuple(job for job in plan if job.name in ("pretrain", "imagenet_knn"))
    ended = inline.run(replace(plan, jobs=few), planner, Orders(), Display(len(few)))
    (record,) = (job.record for job in ended if job.name == "imagenet_knn")
    assert record is not None
    assert "the network looks untrained" in record.facts["alarms"]
    tables.write(ended)
    page = (tmp_path / "home" / "tables.md").read_text()
    assert "moco, 90.0% of its weights" in page
    assert "in doubt: the network looks untrained" in page


def test_the_file_that_was_last_evaluated_is_found_by_its_name(suite: Suite, tmp_path: Path) -> None:
    home, recipe = tmp_path / "home", suite.entry("odc").recipe
    other = replace(recipe.input, mean=(0.1, 0.2, 0.3))
    for seed, given in ((0, recipe.input), (1, recipe.input), (1, other), (0, other), (1, recipe.input)):
        path = home / "weights" / f"{seed}-{given.mean[0]}.safetensors"
        if not path.exists():
            checkpoint.save(path, build(recipe.arch, given, seed), recipe.arch, {})
        for job in Planner(planned.request(suite, home, Given("mine", path))).plan():
            if job.protocol is not None:
                planned.pretend(job, suite)
        assert weights("mine", home) == path
    path.unlink()
    with pytest.raises(Fault, match=r"model 'mine': no copy of the file .* name its checkpoint file"):
        weights("mine", home)


def test_a_file_of_an_earlier_call_is_explained_by_its_name(
    suite: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, recipe = tmp_path / "mine.safetensors", suite.entry("odc").recipe
    checkpoint.save(path, build(recipe.arch, recipe.input, 0), recipe.arch, {})
    monkeypatch.setattr(builtin, "load", lambda *_: suite)
    for job in Planner(planned.request(suite, tmp_path / "home", Given("mine", path))).plan():
        if job.protocol is not None:
            planned.pretend(job, suite)
    asked = requests.about("mine", ["imagenet_knn"], "own", tmp_path / "home", [], eval_seeds="0-1")
    explain.show(Planner(asked).plan(), "imagenet_knn")
    said = capsys.readouterr().out
    assert "mine imagenet_knn: done (recorded)" in said
    assert f'weights = "{checkpoint.describe(path).identity()["weights"]}"' in said
    assert "mine imagenet_knn evaluation 1: todo" in said
    with pytest.raises(Fault, match=r"unknown model 'mne'; did you mean mine\? \(known: .*mine"):
        requests.about("mne", ["imagenet_knn"], "own", tmp_path / "home", [])
