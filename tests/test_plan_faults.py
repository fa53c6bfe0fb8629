"""What is wrong, gone, damaged or killed costs its own job, with its reason, and is never taken for done."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.contract import result
from pretrain.base import process
from pretrain.base.faults import Fault
from tests.planned import changed, finish, jobs, plan, pretend, request
from zoo import request as requests
from zoo.engines import child, inline
from zoo.engines.engine import Engine, Orders, find
from zoo.plan.job import Plan
from zoo.plan.planner import Planner
from zoo.show.plan import reason
from zoo.show.progress import Display
from zoo.suites.suite import Suite

NO_ORDERS = Orders()


def carried_out(suite: Suite, home: Path, orders: Orders = NO_ORDERS) -> Plan:
    """The plan of ODC as the inline engine leaves it."""
    planner = Planner(request(suite, home))
    made = planner.plan()
    return inline.run(made, planner, orders, Display(len(made)))


@pytest.mark.case(26)
def test_the_same_weights_behind_another_preprocessing_are_another_number(
    suite: Suite, tmp_path: Path
) -> None:
    finish(suite, tmp_path)
    after = changed(suite, "odc", **{"input.resize": 40})
    pretend(jobs(after, tmp_path)["pretrain"], after)  # the same tensors: `build` starts from the same seed
    job = jobs(after, tmp_path)["imagenet_knn"]
    assert (job.state, [change.path for change in job.changes]) == ("stale", ["input.resize"])


def test_splits_of_other_classes_fail_the_job_that_reads_them(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "images" / "val" / "class1").rename(tmp_path / "images" / "val" / "kiwi")
    for _ in range(2):  # before anything is trained, and from what is remembered, too
        made = jobs(suite, tmp_path)
        assert made["pretrain"].state == "todo"
        job = made["imagenet_knn"]
        assert (job.state, job.why and job.why.reason) == ("failed", "data-corrupt")
        assert "only in images/train: class1; only in images/val: kiwi" in str(job.why)
    pretend(made["pretrain"], suite)
    job = next(job for job in carried_out(suite, tmp_path) if job.name == "imagenet_knn")
    assert (job.state, job.why and job.why.reason) == ("failed", "data-corrupt")


def test_one_class_alone_fails_the_benchmark_before_anything_is_trained(suite: Suite, tmp_path: Path) -> None:
    for part in ("train", "val"):
        for folder in sorted((tmp_path / "images" / part).iterdir())[1:]:
            shutil.rmtree(folder)
    made = jobs(suite, tmp_path)
    assert made["pretrain"].state == "todo"
    assert made["imagenet_knn"].state == "failed"
    assert "has images of one class, expected two or more" in str(made["imagenet_knn"].why)


def test_one_class_that_divides_images_of_many_labels_is_enough(tmp_path: Path) -> None:
    lists = tmp_path / "voc" / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists.parents[1] / "JPEGImages").mkdir()
    for part in ("trainval", "test"):
        (lists / f"{part}.txt").write_text(f"{part}1\n{part}2\n")
        (lists / f"cat_{part}.txt").write_text(f"{part}1 1\n{part}2 -1\n")
        for i in (1, 2):
            Image.new("RGB", (8, 8)).save(lists.parents[1] / "JPEGImages" / f"{part}{i}.jpg")
    (tmp_path / "own.toml").write_text("variant = 'smoke'\n[data]\nVOCdevkit = 'voc'\n")
    asked = requests.resolve(["random"], ["voc07_svm"], str(tmp_path / "own.toml"), tmp_path / "out", [])
    job = next(job for job in Planner(asked).plan() if job.name == "voc07_svm")
    assert (job.state, job.why) == ("todo", None)


def test_benchmarks_of_a_failed_pretraining_say_why_it_failed(suite: Suite, tmp_path: Path) -> None:
    pretend(jobs(suite, tmp_path)["pretrain"], suite, Fault("nan", "the loss is nan"))
    job = jobs(suite, tmp_path)["imagenet_knn"]
    assert (job.state, reason(job)) == ("failed", "nan: pretraining failed: the loss is nan")
    assert not job.runnable


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed: its process was killed by signal 9 (SIGKILL)"),
        ("raise SystemExit(143)", "killed: its process was killed by signal 15 (SIGTERM)"),
        ("raise SystemExit(7)", "worker-crash: its process ended with exit code 7"),
        (
            "raise SystemExit(6)",
            "disk-full: its process found no space on the disk (free some and run again)",
        ),
    ],
)
@pytest.mark.case(18)
def test_a_child_that_leaves_no_record_gets_a_failed_one(
    suite: Suite, tmp_path: Path, code: str, said: str
) -> None:
    job = jobs(suite, tmp_path)["pretrain"]
    ended = process.start([sys.executable, "-c", code], tmp_path / "log", {})
    ended.process.wait()
    child.left_nothing(job, suite.name, ended)
    again = jobs(suite, tmp_path)["pretrain"]
    assert (again.state, reason(again).startswith(said)) == ("failed", True), reason(again)
    assert again.runs(again=False)


def test_wrong_data_fail_a_job_that_missing_data_would_skip(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "images" / "meta").mkdir()
    (tmp_path / "images" / "meta" / "val.txt").write_text("no label\n")
    found = jobs(suite, tmp_path)
    assert found["pretrain"].state == "todo"
    assert (found["clustering"].state, reason(found["clustering"])[:12]) == ("failed", "data-corrupt")
    (tmp_path / "images" / "meta" / "train.txt").write_text("no label\n")
    assert jobs(suite, tmp_path)["pretrain"].state == "failed"


def test_weights_that_are_gone_are_to_do_again(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path)
    next(tmp_path.glob("models/*/backbone.safetensors")).unlink()
    found = jobs(suite, tmp_path)
    assert (found["pretrain"].state, found["clustering"].state) == ("todo", "done"), "its number stands"
    assert "are gone" in reason(found["pretrain"])


@pytest.mark.parametrize("text", ["", "{", '"text"', "7", "[" * 100_000, '{"schema": "zoo.result/1"}'])
def test_a_damaged_or_older_record_is_to_do_again_and_no_other(
    suite: Suite, tmp_path: Path, text: str
) -> None:
    finish(suite, tmp_path)
    next(tmp_path.glob("results/odc/clustering/*/result.json")).write_text(text)
    found = jobs(suite, tmp_path)
    assert {name for name, job in found.items() if job.state != "done"} == {"clustering"}
    assert found["clustering"].state == "todo"
    assert "damaged" in reason(found["clustering"])


def test_a_record_under_another_key_is_not_believed(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path)
    path = next(tmp_path.glob("results/odc/clustering/*/result.json"))
    forged = result.read(path).model_copy(update={"key": "0" * 16, "metrics": []})
    result.write(path, forged)
    job = jobs(suite, tmp_path)["clustering"]
    assert (job.state, "is the record of another job" in reason(job)) == ("todo", True)


@pytest.mark.case(5)
def test_damaged_weights_fail_their_benchmarks_and_not_the_plan(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path)
    next(tmp_path.glob("models/*/backbone.safetensors")).write_bytes(b"PK" * 50)
    job = jobs(suite, tmp_path)["clustering"]
    assert (job.state, job.why and job.why.reason) == ("failed", "weights-corrupt")


@pytest.mark.slow
@pytest.mark.case(14)
def test_a_folder_that_cannot_be_made_fails_its_job_and_the_others_run(suite: Suite, tmp_path: Path) -> None:
    pretend(jobs(suite, tmp_path)["pretrain"], suite)
    (tmp_path / "results" / "odc").mkdir(parents=True)
    (tmp_path / "results" / "odc" / "clustering").write_text("a file where a folder should be")
    done = {job.name: job for job in carried_out(suite, tmp_path)}
    failed = done["clustering"]
    assert (failed.state, failed.why and failed.why.reason) == ("failed", "bad-config")
    assert "cannot write" in str(failed.why)
    assert done["imagenet_knn"].state == "done"


@pytest.mark.case(32)
def test_what_was_asked_for_by_name_and_is_missing_is_exit_4(suite: Suite, tmp_path: Path) -> None:
    from dataclasses import replace

    asked = request(suite, tmp_path)
    by_name = replace(asked, by_name=True)
    done, *rest = (replace(job, state="done") for job in Planner(asked).plan())
    for why, by_all, named in (
        (Fault("dependency-missing", "mmdet"), 0, 4),
        (Fault("data-missing", "x"), 4, 4),
    ):
        skipped = replace(rest[0], state="skip", why=why)
        assert Plan(asked, (done, skipped)).code == by_all
        assert Plan(by_name, (done, skipped)).code == named
        assert Plan(asked, (done, skipped, replace(rest[1], state="failed"))).code == 1


@pytest.mark.case(32)
def test_a_benchmark_without_its_package_is_skipped_and_a_finished_number_stays(
    suite: Suite, tmp_path: Path
) -> None:
    from dataclasses import replace

    finish(suite, tmp_path)
    planner = Planner(request(suite, tmp_path))
    pretraining, knn = (job for job in planner.plan() if job.name in ("pretrain", "imagenet_knn"))
    assert knn.protocol is not None
    absent = Fault("dependency-missing", "no such package; pip install it")
    without = replace(knn.protocol, packages=("no-such-package",), unavailable=lambda: absent)
    finished = planner.benchmark(without, pretraining, knn.seed)
    assert (finished.state, finished.record) == ("done", knn.record)
    new = replace(without, version=without.version + 1)
    skipped = planner.benchmark(new, pretraining, knn.seed)
    assert (skipped.state, skipped.why) == ("skip", absent)


def test_the_inline_engine_does_not_pretend_to_use_several_gpus() -> None:
    with pytest.raises(Fault, match="--gpus 2 needs processes of their own"):
        find(Engine.INLINE, Orders(gpus=2))


@pytest.mark.parametrize(
    ("engine", "orders"),
    [(Engine.INLINE, Orders(jobs=2)), (Engine.SLURM, Orders(jobs=2)), (Engine.LOCAL, Orders(jobs=2, gpus=1))],
)
def test_jobs_side_by_side_are_for_cores_of_this_machine(engine: Engine, orders: Orders) -> None:
    with pytest.raises(Fault, match="--jobs 2 shares the cores of this machine out"):
        find(engine, orders)


def test_a_finished_zoo_is_read_without_its_data_and_its_weights(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path / "home")
    shutil.move(suite.folder("imagenet"), tmp_path / "elsewhere")
    weights = next((tmp_path / "home").glob("models/*/backbone.safetensors"))
    for gone in (None, weights):
        if gone:
            gone.unlink()
        found = plan(suite, tmp_path / "home")
        benchmarks = [job for job in found if job.protocol is not None]
        assert [job.state for job in benchmarks] == ["done"] * len(benchmarks), [
            reason(j) for j in benchmarks
        ]
        assert all(job.record is not None for job in benchmarks)


def test_absent_data_do_not_make_another_setting_done(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path / "home")
    shutil.move(suite.folder("imagenet"), tmp_path / "elsewhere")
    other = changed(suite, "imagenet_knn", temperature=5.0)
    states = {job.name: job.state for job in plan(other, tmp_path / "home")}
    assert (states["imagenet_knn"], states["clustering"]) == ("skip", "done")
    retrained = {job.name: job.state for job in plan(changed(suite, "odc", lr=9.0), tmp_path / "home")}
    assert retrained["pretrain"] == retrained["imagenet_knn"] == "skip"


@pytest.mark.slow
@pytest.mark.case(1, 2)
def test_what_a_killed_sitting_left_in_a_job_s_folder_goes(suite: Suite, tmp_path: Path) -> None:
    planner = Planner(request(suite, tmp_path / "home", suite.entry("random")))
    made = planner.plan()
    folder = made.jobs[0].folder
    assert folder is not None
    folder.mkdir(parents=True)
    (folder / ".state.pt.123.part").touch()
    (folder / "work" / "pictures").mkdir(parents=True, exist_ok=True)
    (folder / "work" / "pictures" / ".gallery.json.123.part").touch()
    inline.run(made, planner, NO_ORDERS, Display(len(made)))
    assert not list(folder.rglob(".*.part"))
    assert (folder / "result.json").exists()


@pytest.mark.case(27)
def test_data_that_are_here_but_wrong_do_not_leave_old_numbers_standing(suite: Suite, tmp_path: Path) -> None:
    finish(suite, tmp_path / "home")
    lists = suite.folder("imagenet") / "meta"
    lists.mkdir()
    (lists / "train.txt").write_text("no label\n")
    states = {job.name: job.state for job in plan(suite, tmp_path / "home")}
    assert (states["pretrain"], states["imagenet_knn"], states["clustering"]) == (
        "failed",
        "failed",
        "failed",
    )
