"""A plan knows what is done, what a change makes stale, and what is missing, before anything is computed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.protocol import Protocol
from pretrain.faults import Fault
from pretrain.recipe import Recipe, key, override
from tests.planned import PROTOCOLS, changed, finish, jobs, pretend
from zoo import suite as suites
from zoo.plan import difference
from zoo.suite import Suite


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
    assert field in after[name].reason
    assert {found.state for job, found in after.items() if job not in stale} == {"done"}


def test_a_changed_recipe_asks_for_new_weights_and_keeps_the_old_records(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path)
    after = jobs(changed(suite, "odc", lr=0.5), tmp_path)
    assert after["pretrain"].state == "stale"
    assert "recipe.lr: 0.06 -> 0.5" in after["pretrain"].reason
    assert after["imagenet_knn"].state == "todo"
    assert set(states(suite, tmp_path).values()) == {"done"}


def test_a_changed_image_makes_what_read_it_stale(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path)
    picture = next((tmp_path / "images" / "val").rglob("*.png"))
    picture.write_bytes(picture.read_bytes() + b" ")
    after = states(suite, tmp_path)
    assert after == {"pretrain": "done", "imagenet_linear": "stale", "imagenet_knn": "stale", "clustering": "stale"}


def test_a_failed_job_is_not_done(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path)
    pretend(jobs(suite, tmp_path)["clustering"], suite, status="failed")
    job = jobs(suite, tmp_path)["clustering"]
    assert (job.state, job.reason) == ("failed", "failed before (nan): the loss is nan")


def test_missing_data_is_a_reason_with_the_expected_layout(tmp_path: Path) -> None:
    suite = Suite("own", "smoke", tmp_path)
    found = jobs(suite, tmp_path)
    assert {job.state for job in found.values()} == {"skip"}
    assert "VOC2007/ImageSets/Main" in found["voc07_svm"].reason
    assert "annotations/instances_" in found["coco17_detection"].reason


def test_keys_hold_what_decides_a_number_and_not_its_name(suite: Suite) -> None:
    recipe: Recipe = suite.entry("odc").recipe
    assert key(recipe, seed=0) == key(replace(recipe, name="other", log_every=1), seed=0)
    assert key(recipe, seed=0) != key(recipe, seed=1)
    assert key(recipe, seed=0) != key(replace(recipe, version=2), seed=0)


def test_overrides_are_typed_and_reach_into_items() -> None:
    recipe = suites.load("demo", None, {}).entry("odc").recipe
    assert override(recipe, {"views.0.size": "64", "lr": "1"}, "odc").views[0].size == 64
    for bad, said in (
        ({"lrr": 1}, "did you mean lr"),
        ({"epochs": "ten"}, "expected a value like"),
        ({"epochs": 1.5}, "expected int"),
        ({"views.9.size": 1}, "has no field '9'"),
        ({"lr.x": 1}, "has no field 'x'"),
        ({"metric": "foo"}, "odc.metric: expected one of dot, cosine, l2, got 'foo'"),
        ({"precision": "fp16"}, "expected one of bf16, fp32, got 'fp16'"),
        ({"views.0.geometry": "round"}, "expected one of random-resized, center"),
        ({"lr": "NaN"}, "odc.lr: expected finite numbers like 0.06, got nan"),
        ({"lr": float("inf")}, "expected finite numbers"),
        ({"input.mean": "[0.5, 0.5, 1e999]"}, "expected finite numbers"),
    ):
        with pytest.raises(Fault, match=said):
            override(recipe, bad, "odc")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("variant = 'huge'", "unknown variant 'huge'"),
        ("imagse = 'x'", "unknown key 'imagse'.*did you mean images"),
        ("[data]\nimgenet = 'x'", "unknown data set 'imgenet'.*did you mean imagenet"),
        ("[odcc]\nlr = 1.0", "unknown model or protocol 'odcc'"),
        ("x = [", "not valid TOML"),
    ],
)
def test_a_suite_file_is_read_strictly(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(Fault, match=said):
        suites.load(str(tmp_path / "own.toml"), None, {})


def test_every_built_in_suite_shows_an_untrained_backbone_beside_the_others() -> None:
    assert [suites.load(name, None, {}).beside for name in suites.BUILT_IN] == [("random",)] * 3


def test_differences_are_named() -> None:
    assert difference({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}) == ["a.b: 1 -> 3"]


def test_a_new_protocol_is_one_file(suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A throw-away protocol in a folder of its own joins the package and is planned like the others."""
    import benchmarks.protocols

    (tmp_path / "retrieval.py").write_text(
        "from benchmarks.protocols import knn\nfrom dataclasses import replace\n"
        "PAPER = DEMO = SMOKE = (replace(knn.PAPER[0], name='retrieval'),)\n"
    )
    monkeypatch.setattr(benchmarks.protocols, "__path__", [*benchmarks.protocols.__path__, str(tmp_path)])
    found = replace(suite, protocols=None).catalogue()
    assert isinstance(found["retrieval"], Protocol)
    assert list(found)[-1] == "retrieval"


def test_a_plan_prints_as_json(suite: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from zoo import show

    show.plan(list(jobs(suite, tmp_path).values()), as_json=True)
    assert [job["job"] for job in json.loads(capsys.readouterr().out)] == ["pretrain", *PROTOCOLS]
