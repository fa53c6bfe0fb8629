"""What is wrong, gone, damaged or killed costs its own job, with its reason, and is never taken for done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import result
from benchmarks.result import Result
from pretrain import checkpoint
from pretrain.backbone import build
from pretrain.faults import Fault
from tests import scenes
from tests.planned import changed, finish, jobs, pretend
from zoo import suite as suites
from zoo.engines import inline
from zoo.plan import Job, Planner
from zoo.suite import Suite


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
