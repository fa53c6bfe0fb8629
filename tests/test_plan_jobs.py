"""Jobs of a plan: which an engine starts, what their files say, and of which models they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pretrain.base.faults import Fault
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from pretrain.train.adapt import for_images
from tests import scenes
from tests.planned import changed, finish, jobs, plan, pretend, request
from zoo import request as requests
from zoo.engines import child, inline
from zoo.engines.engine import Orders
from zoo.plan.planner import Planner
from zoo.request import with_known
from zoo.show import tables
from zoo.show.progress import Display
from zoo.suites import builtin
from zoo.suites.suite import Entry, Given, Suite, Trained, recipes


def test_an_engine_starts_what_is_not_done_and_nothing_without_weights(suite: Suite, tmp_path: Path) -> None:
    pretend(jobs(suite, tmp_path)["pretrain"], suite, Fault("nan", "the loss is nan"))
    assert [job.name for job in plan(suite, tmp_path) if job.runs(again=False)] == ["pretrain"]
    finish(suite, tmp_path)
    assert not [job for job in plan(suite, tmp_path) if job.runs(again=False)]
    assert len([job for job in plan(suite, tmp_path) if job.runs(again=True)]) == 4


def test_a_job_survives_its_file(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path)
    for job in plan(changed(suite, "odc", **{"views.0.size": 24}), tmp_path):
        if job.folder is None:
            continue
        read, of, store = child.read(child.write(job, suite, request(suite, tmp_path).store))
        assert (read.key, read.name, read.seed, read.path) == (job.key, job.name, job.seed, job.path)
        assert (of, store.home, read.entry.name) == (suite, tmp_path, job.entry.name)
        if isinstance(job.entry, Trained):
            assert read.entry == replace(job.entry, notes=())


PHOTOS = for_images(recipes("odc")["photos"][0], 100)[0]


@pytest.mark.parametrize(
    "entry", [Trained("mine", "odc", PHOTOS), Given("theirs"), Given("w", Path("/w.pth"))]
)
def test_a_model_that_the_suite_does_not_know_survives_too(
    entry: Entry, suite: Suite, tmp_path: Path
) -> None:
    """Under a name of its own, adapted to its images, or with weights that somebody gave, now or earlier."""
    finish(suite, tmp_path)
    job = replace(plan(suite, tmp_path).jobs[-1], entry=entry)
    assert child.read(child.write(job, suite, request(suite, tmp_path).store))[0].entry == entry


def test_computing_again_keeps_weights_that_were_given(suite: Suite, tmp_path: Path) -> None:
    pretend(jobs(suite, tmp_path)["pretrain"], suite)
    weights = next(tmp_path.glob("models/*/backbone.safetensors"))
    given = requests.Given("mine", weights)
    made = Planner(request(suite, tmp_path / "out", given)).plan()
    assert [job.name for job in made if job.runs(again=True)] == [
        "imagenet_linear",
        "imagenet_knn",
        "clustering",
    ]


def test_a_given_file_is_named_by_its_recipe_and_found_again_without_it(tmp_path: Path) -> None:
    """`zoo status` and `zoo report` plan it from its records: the file may be anywhere by then."""
    images = scenes.folder(tmp_path / "images", per_class=4)
    own, home = tmp_path / "own.toml", tmp_path / "out"
    own.write_text(f"variant = 'smoke'\nprotocols = ['clustering']\n[data]\nimagenet = '{images}'\n")
    recipe = builtin.load(str(own), None, {}).entry("odc").recipe
    for recorded, shown in ({"recipe": "odc_resnet10_demo"}, "odc_resnet10_demo"), ({}, "given"):
        path = tmp_path / "mine.safetensors"
        checkpoint.save(path, build(recipe.arch, recipe.input, len(recorded)), recipe.arch, recorded)
        planner = Planner(requests.resolve(["mine"], None, str(own), home, [], checkpoint=path))
        made = planner.plan()
        inline.run(made, planner, Orders(), Display(len(made)))
        path.unlink()
        found = Planner(requests.everything(str(own), home, [])).plan()
        assert [(job.label, job.state) for job in found] == [
            ("mine pretrain", "done"),
            ("mine clustering", "done"),
        ]
        tables.write(found)
        assert f"| mine | {shown} |" in (home / "tables.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["demo.toml", "smoke.toml", "other.toml"])
def test_a_suite_of_the_users_own_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Whether data are embedded is a field of the suite, not its name; tables are not mixed up."""
    images = scenes.folder(tmp_path / "images", per_class=4)
    own, home = tmp_path / name, tmp_path / "out"
    own.write_text(f"variant = 'smoke'\nprotocols = ['clustering']\n[data]\nimagenet = '{images}'\n")
    for each in (own, tmp_path / "renamed.toml"):
        each.write_text(own.read_text())
        found = requests.resolve(["random"], None, str(each), home, [])
        builtin.draw(found.suite)
        planner = Planner(found)
        made = inline.run(planner.plan(), planner, Orders(), Display(2))
        tables.write(made)
        assert {job.state for job in made} == {"done"}
    assert "suite renamed" in (home / "tables.md").read_text()


def test_records_of_a_run_say_what_it_ran_on(suite: Suite, tmp_path: Path) -> None:
    pretend(jobs(suite, tmp_path)["pretrain"], suite)
    record = json.loads(next(tmp_path.glob("models/*/result.json")).read_text())
    assert record["schema"] == "zoo.result/2"
    assert record["env"]["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_each_model_has_seeds_of_its_own(suite: Suite, tmp_path: Path) -> None:
    """A row is not empty because another model has been trained with more seeds."""
    for entry, seeds in ((suite.entry("random"), (0, 1)), (suite.entry("odc"), (0,))):
        asked = request(suite, tmp_path, entry, seeds=seeds)
        for job in Planner(asked).plan():
            if job.protocol is None:
                pretend(job, suite)
        for job in Planner(asked).plan():
            if job.protocol is not None:
                pretend(job, suite)
    whole = with_known(request(suite, tmp_path, suite.entry("odc")))
    assert [(trial.entry.name, trial.seed) for trial in whole.trials] == [
        ("odc", 0), ("random", 0), ("random", 1),
    ]  # fmt: skip
    assert {job.state for job in Planner(whole).plan()} == {"done"}


def test_weights_of_ones_own_do_not_take_the_name_of_a_method(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    checkpoint.save(path, build("resnet10_narrow", Input(size=8, resize=8), 0), "resnet10_narrow", {})
    with pytest.raises(Fault, match="'odc' is a model that the zoo trains; name yours otherwise"):
        requests.resolve(["odc"], None, "smoke", tmp_path / "out", [], checkpoint=path)
