"""A plan knows what is done, what a change makes stale, and what is missing, before anything is computed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import result
from benchmarks.protocol import Protocol
from benchmarks.result import Metric, Result
from pretrain import checkpoint
from pretrain.backbone import build
from pretrain.faults import Fault
from pretrain.recipe import Recipe, key, override
from tests import scenes
from zoo import suite as suites
from zoo.engines import inline
from zoo.plan import Job, Planner, difference
from zoo.suite import Suite

PROTOCOLS = ("imagenet_linear", "imagenet_knn", "clustering")


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    images = scenes.folder(tmp_path / "images", per_class=4)
    return Suite("own", "smoke", tmp_path, data={"imagenet": images}, protocols=PROTOCOLS)


def jobs(suite: Suite, home: Path) -> dict[str, Job]:
    planner = Planner(suite, home)
    return {job.name: job for job in planner.jobs([suite.entry("odc")], list(suite.catalogue().values()), [0])}


def pretend(job: Job, suite: Suite, status: str = "ok") -> None:
    """Leaves the record that a finished job would leave."""
    assert job.path is not None
    if job.protocol is None:
        recipe = job.entry.recipe
        backbone = build(recipe.arch, recipe.input, 0)
        checkpoint.save(job.path.parent / "backbone.safetensors", backbone, recipe.arch, {})
    record = Result(
        key=job.key,
        suite=suite.name,
        status=status,  # type: ignore[arg-type]
        reason=None if status == "ok" else "nan",
        message=None if status == "ok" else "the loss is nan",
        model={"name": "odc"},
        protocol={"name": job.name},
        data={},
        seed=0,
        metrics=[Metric(name="top1", value=1.0, unit="%", better="higher", split="val", n=1)],
        facts={"parts": job.parts},
        env={},
        cost={},
        time={"start": "2026-01-01", "end": "2026-01-01"},
    )
    result.write(job.path, record)


def finish(suite: Suite, home: Path) -> None:
    pretend(jobs(suite, home)["pretrain"], suite)
    for name in PROTOCOLS:
        pretend(jobs(suite, home)[name], suite)


def states(suite: Suite, home: Path) -> dict[str, str]:
    return {name: job.state for name, job in jobs(suite, home).items()}


def changed(suite: Suite, name: str, **fields: object) -> Suite:
    return replace(suite, overrides={name: fields})


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


def test_the_same_weights_behind_another_preprocessing_are_another_number(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path)
    after = changed(suite, "odc", **{"input.resize": 40})
    pretend(jobs(after, tmp_path)["pretrain"], after)  # the same tensors: `build` starts from the same seed
    job = jobs(after, tmp_path)["imagenet_knn"]
    assert (job.state, "input.resize" in job.reason) == ("stale", True)


def test_computing_again_forgets_cached_features_unless_a_parent_already_did(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo import execute
    from zoo.call import Call

    monkeypatch.setattr(execute, "_inline", lambda *_: False)
    cached = tmp_path / "features" / "a.npy"
    for alone, again in ((True, True), (False, False), (False, True)):
        cached.parent.mkdir(exist_ok=True)
        cached.touch()
        call = Call(["odc"], [], "smoke", tmp_path, [], "0", None, alone)
        execute.run(call, [], "inline", 0, again)
        assert cached.exists() == (alone or not again)


def run_inline(job: Job, suite: Suite, home: Path) -> Result:
    return inline.run(job, Planner(suite, home), torch.device("cpu"), lambda *_: None)


def test_splits_of_other_classes_fail_the_job_that_reads_them(suite: Suite, tmp_path: Path) -> None:
    pretend(jobs(suite, tmp_path)["pretrain"], suite)
    (tmp_path / "images" / "val" / "class1").rename(tmp_path / "images" / "val" / "kiwi")
    record = run_inline(jobs(suite, tmp_path)["imagenet_knn"], suite, tmp_path)
    assert (record.status, record.reason) == ("failed", "data-corrupt")
    assert "only in images/train: class1; only in images/val: kiwi" in (record.message or "")


def test_benchmarks_of_a_failed_pretraining_say_why_it_failed(suite: Suite, tmp_path: Path) -> None:
    pretend(jobs(suite, tmp_path)["pretrain"], suite, status="failed")
    job = jobs(suite, tmp_path)["imagenet_knn"]
    assert (job.state, job.reason, job.path) == ("failed", "pretraining failed (nan): the loss is nan", None)


def test_the_local_engine_starts_nothing_without_weights_and_keeps_all_else(suite: Suite, tmp_path: Path) -> None:
    from zoo.engines import local

    pretend(jobs(suite, tmp_path)["pretrain"], suite, status="failed")
    assert [job.name for job in local._runnable(list(jobs(suite, tmp_path).values()), False)] == ["pretrain"]
    finish(suite, tmp_path)
    assert local._runnable(list(jobs(suite, tmp_path).values()), False) == []
    assert len(local._runnable(list(jobs(suite, tmp_path).values()), True)) == 4


@pytest.mark.parametrize(("code", "said"), [(-9, "killed"), (143, "killed"), (1, "worker-crash")])
def test_a_killed_child_leaves_a_failed_record(suite: Suite, tmp_path: Path, code: int, said: str) -> None:
    from datetime import UTC, datetime

    from zoo.engines import ended

    job = jobs(suite, tmp_path)["pretrain"]
    assert job.path is not None
    ended.leave(job, suite.name, code, datetime.now(UTC), tmp_path / "log")
    job = jobs(suite, tmp_path)["pretrain"]
    assert (job.state, job.reason.startswith(f"failed before ({said})")) == ("failed", True)
    pretend(job, suite)
    ended.leave(job, suite.name, code, datetime.now(UTC), tmp_path / "log")
    assert jobs(suite, tmp_path)["pretrain"].state == "done"


def test_the_local_engine_records_a_child_that_was_killed(suite: Suite, tmp_path: Path) -> None:
    import subprocess
    from datetime import UTC, datetime

    from zoo.engines import local
    from zoo.progress import Display

    process = subprocess.Popen(["sh", "-c", "kill -9 $$"])
    process.wait()
    (tmp_path / "log").touch()
    job = jobs(suite, tmp_path)["pretrain"]
    child = local.Child("x", process, [], tmp_path / "log", job, datetime.now(UTC))
    assert local._finished(child, suite.name, Display(1))
    assert "failed before (killed): its process was killed by signal 9" in jobs(suite, tmp_path)["pretrain"].reason


def test_wrong_data_fail_a_job_that_missing_data_would_skip(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "images" / "meta").mkdir()
    (tmp_path / "images" / "meta" / "val.txt").write_text("no label\n")
    found = jobs(suite, tmp_path)
    assert found["pretrain"].state == "todo"
    assert found["clustering"].state == "failed"
    assert "failed (data-corrupt): " in found["clustering"].reason
    (tmp_path / "images" / "meta" / "train.txt").write_text("no label\n")
    found = jobs(suite, tmp_path)
    assert found["pretrain"].state == "failed"


def test_weights_that_are_gone_are_to_do_again(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path)
    next(tmp_path.glob("models/*/backbone.safetensors")).unlink()
    found = jobs(suite, tmp_path)
    assert found["pretrain"].state == found["clustering"].state == "todo"
    assert "are gone" in found["pretrain"].reason


@pytest.mark.parametrize("text", ["", "{", '"text"', "7"])
def test_a_damaged_record_is_to_do_again_and_no_other(suite: Suite, tmp_path: Path, text: str) -> None:
    finish(suite, tmp_path)
    next(tmp_path.glob("results/odc/*/clustering/*/result.json")).write_text(text)
    found = jobs(suite, tmp_path)
    assert {name for name, job in found.items() if job.state != "done"} == {"clustering"}
    assert found["clustering"].state == "todo"
    assert "damaged" in found["clustering"].reason


def test_damaged_weights_fail_their_benchmarks_and_not_the_plan(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path)
    next(tmp_path.glob("models/*/backbone.safetensors")).write_bytes(b"PK")
    job = jobs(suite, tmp_path)["clustering"]
    assert (job.state, job.reason.startswith("failed (weights-corrupt)")) == ("failed", True)


def test_a_full_disk_fails_the_job_and_the_next_one_runs(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: Result) -> None:
        raise Fault("disk-full", f"no space to write {path}")

    monkeypatch.setattr(inline, "_pretrain", lambda *_: {})
    monkeypatch.setattr(result, "write", full)
    record = run_inline(jobs(suite, tmp_path)["pretrain"], suite, tmp_path)
    assert (record.status, record.reason) == ("failed", "disk-full")


def test_a_folder_that_cannot_be_made_fails_its_job_alone(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo import execute
    from zoo.progress import Display

    def full(*_: object) -> None:
        raise Fault("disk-full", "no space")

    monkeypatch.setattr(execute.files, "lease", full)
    job = jobs(suite, tmp_path)["pretrain"]
    assert not execute._carry_out(job, Planner(suite, tmp_path), torch.device("cpu"), Display(1), False)
    nowhere = replace(job, path=None, state="failed", reason="failed (data-corrupt): x")
    assert not execute._carry_out(nowhere, Planner(suite, tmp_path), torch.device("cpu"), Display(1), False)


def test_a_child_that_computes_a_benchmark_again_keeps_the_weights(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo import execute
    from zoo.call import Call

    seen: list[tuple[str, bool]] = []
    monkeypatch.setattr(execute, "draw", lambda _: None)
    monkeypatch.setattr(execute, "_carry_out", lambda job, *rest: seen.append((job.name, rest[-1])) or True)
    for alone in (True, False):
        call = Call(["odc"], ["clustering"], "smoke", tmp_path, [], "0", None, alone)
        call.entries = call.entries[:1]
        execute._inline(call, torch.device("cpu"), again=True)
    assert seen == [("pretrain", False), ("clustering", True), ("pretrain", True), ("clustering", True)]


def test_what_was_asked_for_by_name_and_is_missing_is_exit_4(suite: Suite) -> None:
    from zoo.run import _code

    job = Job(suite.entry("odc"), None, 0, "done", "recorded")
    package = replace(job, state="skip", reason="mmdet is not installed")
    data = replace(job, state="skip", reason="data-missing: x is not there")
    assert [_code(False, [job, each], by_name=True) for each in (job, package, data)] == [0, 4, 4]
    assert [_code(False, [job, each], by_name=False) for each in (job, package, data)] == [0, 0, 4]
    assert _code(True, [package], by_name=True) == 1


def test_a_given_file_is_named_by_its_recipe_and_found_again_without_it(tmp_path: Path) -> None:
    """`zoo status` and `zoo report` plan it from its records: the file may be anywhere by then."""
    from zoo import show
    from zoo.call import Call

    images = scenes.folder(tmp_path / "images", per_class=4)
    own, home = tmp_path / "own.toml", tmp_path / "out"
    own.write_text(f"variant = 'smoke'\nprotocols = ['clustering']\n[data]\nimagenet = '{images}'\n")
    recipe = suites.load(str(own), None, {}).entry("odc").recipe
    for recorded, shown in ({"recipe": "odc_resnet10_demo"}, "resnet10_demo"), ({}, "given"):
        path = tmp_path / "mine.safetensors"
        checkpoint.save(path, build(recipe.arch, recipe.input, len(recorded)), recipe.arch, recorded)
        call = Call(["mine"], None, str(own), home, [], "0", path)
        (row,) = show._rows(call)
        assert (row.model, row.recipe) == ("mine", shown)
        run_inline_given(call)
        path.unlink()
        found = show.everything(str(own), home)
        assert [(job.entry.name, job.name, job.state) for job in found.plan()] == [
            ("mine", "pretrain", "done"),
            ("mine", "clustering", "done"),
        ]
        (row,) = show._rows(found)
        assert (row.model, row.recipe, row.weights) == ("mine", shown, None)


def run_inline_given(call: Any) -> None:
    job = call.plan()[1]
    assert inline.run(job, call.planner(), torch.device("cpu"), lambda *_: None).status == "ok"
