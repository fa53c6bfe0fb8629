"""Numbers belong to the weights that gave them, and ten thousand of them are no burden."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.contract import result
from benchmarks.contract.result import Result
from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.data import split
from pretrain.data.fingerprint import Fingerprints, Inventory, of_split
from pretrain.data.split import from_folder
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from tests import planned, scenes
from tests.faults import commands
from zoo.jobs import benchmark, pretrain
from zoo.jobs.place import Place, Report
from zoo.jobs.record import recording
from zoo.plan.datasets import Datasets
from zoo.plan.job import Job
from zoo.plan.planner import Planner
from zoo.store import Store
from zoo.suites.suite import Given, Suite, Trained

RECORDS = 10_000
SECONDS = 60.0  # that a busy machine may take to list them; an idle one takes a few
MIB = 1024


def save(path: Path, suite: Suite, seed: int) -> str:
    """Weights drawn by a seed; their hash."""
    entry = suite.entry("odc")
    assert isinstance(entry, Trained)
    backbone = build(entry.recipe.arch, entry.recipe.input, seed)
    checkpoint.save(path, backbone, entry.recipe.arch, {})
    return checkpoint.describe(path).sha256


@pytest.mark.case(7)
def test_the_hash_of_nothing_is_not_that_of_weights(suite: Suite, tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    true = save(path, suite, 0)
    nothing = hashlib.sha256().hexdigest()
    path.write_bytes(path.read_bytes().replace(true.encode(), nothing.encode()))
    with pytest.raises(Fault, match=rf"weights hash {true[:12]}, its header says {nothing[:12]}") as raised:
        checkpoint.load(path)
    assert raised.value.reason == "weights-corrupt"


@pytest.mark.case(26)
def test_other_weights_under_the_same_path_are_another_number(suite: Suite, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save(path, suite, 0)
    request = planned.request(suite, tmp_path / "home", Given("mine", path))
    old = {job.name: job for job in Planner(request).plan()}["imagenet_knn"]
    planned.pretend(old, suite)
    assert {job.name: job for job in Planner(request).plan()}["imagenet_knn"].state == "done"
    save(path, suite, 1)
    new = {job.name: job for job in Planner(request).plan()}["imagenet_knn"]
    assert new.state == "stale"
    assert new.key != old.key
    assert old.path is not None
    assert old.path.exists(), "the old number stays"


def repaint(suite: Suite, part: str) -> None:
    """Other pixels in the images of a split, under the same names."""
    for path in sorted((suite.data["imagenet"] / part).rglob("*.png")):
        Image.effect_noise((40, 40), 90).convert("RGB").save(path)


def ran(job: Job, suite: Suite, home: Path, report: Report = lambda *_: None) -> Result:
    """The record of a job as a process leaves it that begins it long after it was planned."""
    store, work = Store(home), pretrain if job.protocol is None else benchmark
    place = Place(suite, store, Datasets(suite, store.fingerprints), torch.device("cpu"), report)
    with recording(job, suite.name) as found:
        found.outcome = work.run(job, place)
    return found.record


@pytest.mark.case(27)
@pytest.mark.parametrize(("name", "part"), [("pretrain", "train"), ("imagenet_knn", "val")])
def test_images_that_change_after_the_plan_get_no_number_under_its_key(
    suite: Suite, tmp_path: Path, name: str, part: str
) -> None:
    if name != "pretrain":
        planned.pretend(planned.jobs(suite, tmp_path)["pretrain"], suite)
    job = planned.jobs(suite, tmp_path)[name]
    repaint(suite, part)
    record = ran(job, suite, tmp_path)
    assert (record.status, record.reason) == ("failed", "data-corrupt")
    assert f"images/{part} changed since this job was planned: expected" in (record.message or "")
    assert ran(planned.jobs(suite, tmp_path)[name], suite, tmp_path).status == "ok"


@pytest.mark.case(27)
@pytest.mark.parametrize(("name", "part"), [("pretrain", "train"), ("imagenet_knn", "val")])
def test_what_was_computed_while_images_changed_is_nothing_to_go_on_from(
    suite: Suite, tmp_path: Path, name: str, part: str
) -> None:
    """Put back, the images give the number that they would have given without a change."""
    if name != "pretrain":
        planned.pretend(planned.jobs(suite, tmp_path)["pretrain"], suite)
    shutil.copytree(tmp_path / "images", tmp_path / "kept")
    job = planned.jobs(suite, tmp_path)[name]
    assert ran(job, suite, tmp_path, lambda *_: repaint(suite, part)).reason == "data-corrupt"
    shutil.rmtree(tmp_path / "images")
    (tmp_path / "kept").rename(tmp_path / "images")
    assert planned.jobs(suite, tmp_path)[name].key == job.key
    assert ran(job, suite, tmp_path).status == "ok"
    assert job.folder is not None
    left = {path.parent.name for path in (tmp_path / "features").glob("*/*/manifest.json")}
    made = result.read(job.folder / "result.json")
    shutil.rmtree(job.folder)
    shutil.rmtree(tmp_path / "features", ignore_errors=True)
    assert ran(job, suite, tmp_path).metrics == made.metrics
    assert {path.parent.name for path in (tmp_path / "features").glob("*/*/manifest.json")} == left


@pytest.mark.case(3)
def test_a_damaged_line_of_progress_costs_no_weights(suite: Suite, tmp_path: Path) -> None:
    job = planned.jobs(suite, tmp_path)["pretrain"]
    made = ran(job, suite, tmp_path)
    assert job.folder is not None
    (job.folder / "result.json").unlink()
    metrics = job.folder / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(b"".join([*lines[:-1], b"[" + lines[-1][1:]]))
    again = ran(job, suite, tmp_path)
    assert (again.status, again.facts["weights"]) == ("ok", made.facts["weights"])
    assert (again.facts["last"], again.metrics) == ({}, [])


@pytest.mark.case(27)
def test_images_that_come_to_lie_beside_those_of_a_job_are_none_of_its(suite: Suite, tmp_path: Path) -> None:
    job = planned.jobs(suite, tmp_path)["pretrain"]
    one = next((suite.data["imagenet"] / "train").rglob("*.png"))
    assert ran(job, suite, tmp_path, lambda *_: shutil.copy(one, one.with_name("new.png"))).status == "ok"


@pytest.mark.case(27)
def test_an_image_that_arrives_while_a_folder_is_listed_is_seen_by_the_next_look(tmp_path: Path) -> None:
    """A copy that is still under way when the plan is made."""
    folder, memory = scenes.folder(tmp_path / "images", per_class=2) / "train", Fingerprints(tmp_path / "m")

    def listed(arrives: bool) -> Inventory:
        found = of_split(from_folder("some", folder))
        if arrives:
            one = next(folder.rglob("*.png"))
            shutil.copy(one, one.with_name("late.png"))
        return found

    before = memory.of("key", lambda: listed(True))
    after = memory.of("key", lambda: listed(False))
    assert after.images == before.images + 1
    assert after.fingerprint != before.fingerprint


@pytest.mark.case(27)
def test_what_an_older_reader_listed_is_forgotten_by_the_job_that_finds_other_images(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "val"):
        one = next((suite.data["imagenet"] / part).rglob("*.png"))
        shutil.copy(one, one.with_name("new.jfif"))
    time.sleep(0.1)
    job = planned.jobs(suite, tmp_path)["pretrain"]
    monkeypatch.setattr(split, "IMAGE_ENDINGS", (*split.IMAGE_ENDINGS, ".jfif"))
    assert ran(job, suite, tmp_path).reason == "data-corrupt"
    assert ran(planned.jobs(suite, tmp_path)["pretrain"], suite, tmp_path).status == "ok"


@pytest.mark.case(26)
@pytest.mark.parametrize("late", [False, True], ids=["before the job", "while it computes"])
def test_weights_that_are_written_over_after_the_plan_give_no_number(
    suite: Suite, tmp_path: Path, late: bool
) -> None:
    """Neither under the planned key, nor by features of the old ones that are kept for the new."""
    path = tmp_path / "latest.safetensors"
    save(path, suite, 0)
    request = planned.request(suite, tmp_path / "home", Given("mine", path))
    job = {job.name: job for job in Planner(request).plan()}["imagenet_knn"]

    def over(done: int, total: int, line: str) -> None:
        save(path, suite, 1)

    if not late:
        over(0, 0, "")
    record = ran(job, suite, tmp_path / "home", over if late else lambda *_: None)
    assert (record.status, record.reason) == ("failed", "weights-mismatch")
    assert "latest.safetensors changed since this job was planned" in (record.message or "")
    assert not list((tmp_path / "home").glob("features/*/*/manifest.json"))


# A process counts what its parent held when it was forked, so a small one stands between.
MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.case(42)
def test_ten_thousand_records_are_listed_in_seconds(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "flush", lambda path: None)  # as many flushes would take minutes
    own = commands.suite(tmp_path / "own", ["imagenet_knn"])
    planned.finish(suite, tmp_path / "made")
    (template,) = [r for _, r in result.every(tmp_path / "made") if r.protocol.get("name") == "imagenet_knn"]
    for n in range(RECORDS):
        key = f"{n:016x}"
        record = template.model_copy(update={"key": key, "seed": n % 10, "identity": {"n": n}})
        model = {**template.model, "seed": n % 10}
        record = record.model_copy(update={"model": model})
        result.write(own.parent / "out" / "results" / "odc" / "imagenet_knn" / key / "result.json", record)
    for words in (["status", "--json"], ["report"]):
        begin = time.monotonic()
        line = [sys.executable, "-c", MEASURED, *commands.argv(own, *words)]
        done = subprocess.run(line, capture_output=True, text=True, env=commands.ENVIRONMENT)
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - begin < SECONDS
        assert int(done.stdout) < 1024 * MIB
