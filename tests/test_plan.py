"""A plan knows what is done, what a change makes stale, and what is missing, before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from pretrain.base.settings import changed as replaced
from pretrain.data.split import Split
from pretrain.train.recipe import key
from tests.planned import PROTOCOLS, changed, finish, jobs, plan, pretend, request
from zoo import models
from zoo.plan.changes import changes
from zoo.plan.planner import Planner
from zoo.request import resolve
from zoo.show.plan import reason, without_number
from zoo.store import Store
from zoo.suites.suite import Reference, Suite, Trained


def states(suite: Suite, home: Path) -> dict[str, str]:
    return {name: job.state for name, job in jobs(suite, home).items()}


def test_everything_is_to_do_then_done(suite: Suite, tmp_path: Path) -> None:
    assert set(states(suite, tmp_path).values()) == {"todo"}
    finish(suite, tmp_path)
    assert set(states(suite, tmp_path).values()) == {"done"}


@pytest.mark.parametrize(
    ("name", "field", "value", "stale"),
    [
        ("imagenet_knn", "temperature", 0.1, {"imagenet_knn"}),
        ("imagenet_linear", "features.epochs", 3, {"imagenet_linear"}),
        ("clustering", "restarts", 1, {"clustering"}),
    ],
)
def test_a_changed_setting_makes_exactly_its_own_job_stale(
    suite: Suite, tmp_path: Path, name: str, field: str, value: object, stale: set[str]
) -> None:
    finish(suite, tmp_path)
    after = jobs(changed(suite, name, **{field: value}), tmp_path)
    assert {job for job, found in after.items() if found.state == "stale"} == stale
    assert f"settings.{field}" in [change.path for change in after[name].changes]
    assert {found.state for job, found in after.items() if job not in stale} == {"done"}


def test_a_changed_recipe_asks_for_new_weights_and_keeps_the_old_records(
    suite: Suite, tmp_path: Path
) -> None:
    finish(suite, tmp_path)
    after = jobs(changed(suite, "odc", lr=0.5), tmp_path)
    assert after["pretrain"].state == "stale"
    assert [str(change) for change in after["pretrain"].changes] == ["recipe.lr: 0.06 -> 0.5"]
    assert after["imagenet_knn"].state == "todo"
    assert set(states(suite, tmp_path).values()) == {"done"}


@pytest.mark.parametrize("edit", ["longer", "same size", "added", "removed"])
@pytest.mark.case(27)
def test_changed_images_make_what_read_them_stale(suite: Suite, tmp_path: Path, edit: str) -> None:
    finish(suite, tmp_path)
    folder = tmp_path / "images" / "val" / "class0"
    picture = sorted(folder.iterdir())[0]
    content = picture.read_bytes()
    if edit == "longer":
        picture.write_bytes(content + b" ")
    elif edit == "same size":
        picture.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif edit == "added":
        (folder / "new.png").write_bytes(content)
    else:
        picture.unlink()
    after = states(suite, tmp_path)
    assert after == {"pretrain": "done", **dict.fromkeys(PROTOCOLS, "stale")}


def test_a_failed_job_is_not_done(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path)
    pretend(jobs(suite, tmp_path)["clustering"], suite, Fault("nan", "the loss is nan"))
    job = jobs(suite, tmp_path)["clustering"]
    assert (job.state, reason(job)) == ("failed", "nan: the loss is nan")
    assert plan(suite, tmp_path).code == 1


def test_missing_data_is_a_reason_with_the_expected_layout(tmp_path: Path) -> None:
    suite = Suite(name="own", variant="demo", root=tmp_path)
    found = jobs(suite, tmp_path)
    assert {job.state for job in found.values()} == {"skip"}
    assert "VOC2007/ImageSets/Main" in reason(found["voc07_svm"])
    assert "annotations/instances_" in reason(found["coco17_detection"])
    assert plan(suite, tmp_path).code == 4


def test_all_models_are_asked_for_like_one(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("variant = 'smoke'\n")
    for name in ("all", "odc"):
        asked = resolve([name], ["imagenet_knn"], str(tmp_path / "own.toml"), tmp_path / "out", [])
        assert "odc" in asked.asked
        assert not {"all", "random", "raw_pixels"} & asked.asked
        assert Planner(asked).plan().code == 4


def test_a_recipe_that_does_not_fit_its_data_fails_in_the_plan(suite: Suite, tmp_path: Path) -> None:
    few = jobs(changed(suite, "odc", batch_size=500), tmp_path)["pretrain"]
    assert (few.state, few.why and few.why.reason) == ("failed", "bad-config")
    assert "a batch of 500 is more than the 12 images; lower 'batch_size'" in reason(few)
    many = jobs(changed(suite, "odc", batch_size=4, clusters=13), tmp_path)["pretrain"]
    assert "13 clusters need at least as many images, not 12" in reason(many)
    told = without_number(plan(changed(suite, "odc", batch_size=500), tmp_path))
    assert told == [f"failed: odc pretrain: {reason(few)}"]  # its benchmarks fail with it


def test_keys_hold_what_decides_a_number_and_not_its_name(suite: Suite) -> None:
    recipe = suite.entry("odc").recipe
    assert key(recipe, seed=0) == key(replaced(recipe, name="other", log_every=1, config="x"), seed=0)
    assert key(recipe, seed=0) != key(recipe, seed=1)
    assert key(recipe, seed=0) != key(replaced(recipe, version=99), seed=0)


def test_differences_are_named_by_their_path() -> None:
    old, new = {"a": {"b": 1}, "c": 2, "d": [{"e": 1}]}, {"a": {"b": 3}, "c": 2, "d": [{"e": 2}]}
    assert [str(change) for change in changes(old, new)] == ["a.b: 1 -> 3", "d.0.e: 1 -> 2"]


class Counted(Planner):
    """A planner that counts what it opens."""

    def __init__(self, suite: Suite, home: Path) -> None:
        self.opened: list[Reference] = []
        super().__init__(request(suite, home, suite.entry("odc"), suite.entry("random"), seeds=(0, 1)))
        read = type(self.datasets.suite).split

        def split(reference: Reference) -> Split:
            self.opened.append(reference)
            return read(suite, reference)

        object.__setattr__(self.datasets, "suite", _Opening(suite, split))


class _Opening:
    """A suite whose splits are opened by a function of the test's."""

    def __init__(self, suite: Suite, split: object) -> None:
        self.split, self.folder, self.exclude = split, suite.folder, suite.exclude


def test_a_plan_opens_each_split_once_and_a_second_command_none(suite: Suite, tmp_path: Path) -> None:
    first = Counted(suite, tmp_path)
    before = first.plan()
    assert sorted(map(str, first.opened)) == ["imagenet/train", "imagenet/val"]
    second = Counted(suite, tmp_path)
    again = second.plan()
    assert second.opened == []
    assert [job.key for job in again] == [job.key for job in before]


def test_the_plan_is_judged_again_only_where_a_pretraining_has_ended(suite: Suite, tmp_path: Path) -> None:
    planner = Planner(request(suite, tmp_path))
    made = planner.plan()
    pretend(made.jobs[0], suite)
    after = planner.after(planner.judged_again(made.jobs[0], made), made)
    assert [job.state for job in made] == ["todo"] * 4
    assert [job.state for job in after] == ["done", *["todo"] * 3]
    assert not made.jobs[1].runnable
    assert all(job.runnable for job in after)


def test_settings_can_be_given_a_name_and_found_again_under_it(suite: Suite, tmp_path: Path) -> None:
    own = replaced(suite, overrides={**suite.overrides, "odc": {**suite.overrides["odc"], "lr": 0.5}})
    (named,) = models.entries(own, Store(tmp_path), ["odc"], alias="odc_fast")
    pretend(Planner(request(own, tmp_path, named)).plan().jobs[0], own)
    (found,) = models.entries(suite, Store(tmp_path), ["odc_fast"])
    assert isinstance(found, Trained)
    assert (found.name, found.method, found.recipe.lr) == ("odc_fast", "odc", 0.5)
    assert Planner(request(suite, tmp_path, found)).plan().jobs[0].state == "done"
    assert "2 more changed" in found.recipe.config
    with pytest.raises(Fault, match="'odc' is a model that the zoo trains"):
        models.entries(own, Store(tmp_path), ["odc"], alias="odc")
    with pytest.raises(Fault, match="--as: 'all' means every method"):
        models.entries(own, Store(tmp_path), ["odc"], alias="all")
    with pytest.raises(Fault, match="--as names one model"):
        models.entries(own, Store(tmp_path), ["odc", "random"], alias="both")
