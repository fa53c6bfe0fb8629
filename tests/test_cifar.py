"""The suite `cifar`: data from files in the official format, benchmarks, published numbers beside."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from benchmarks.contract import result
from benchmarks.contract.protocol import catalogue
from pretrain.data import cifar, dataset
from pretrain.nets import archs
from tests.reports.store import benchmark, view
from zoo.plan.job import Job
from zoo.plan.planner import Planner
from zoo.request import resolve
from zoo.suites import builtin
from zoo.suites.suite import recipes

OFFICIAL = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
EVERY = ("cifar10_linear", "cifar100_linear", "cifar10_knn", "cifar100_knn")
EACH = 6  # images of a batch
SUITE = f"""variant = "cifar"
images = "cifar10/train"
protocols = {list(EVERY)}
beside = []
[data]
cifar10 = "cifar10"
cifar100 = "cifar100"
[pretrain]
arch = "resnet10_narrow"
[swav]
epochs = 2
schedule.warmup = 0
batch_size = 6
hidden = 16
dim = 8
prototypes = 6
queue = 12
queue_from = 0
freeze = 1
"""
LINEAR = """[{}]
pooled = 64
batch_size = 10
features.epochs = 2
average.epochs = 2
average_swav.epochs = 2
"""
SMALL = SUITE + "".join(
    LINEAR.format(name) if "linear" in name else f"[{name}]\nks = [1, 2]\n" for name in EVERY
)


def write(root: Path) -> Path:
    """Both sets in the official format, a few images of two classes each; the mean colour tells the class."""
    rng = np.random.default_rng(0)
    for name, official in OFFICIAL.items():
        folder = root / name / official.base_folder
        folder.mkdir(parents=True)
        for batch, _ in official.train_list + official.test_list:
            labels = [i % 2 for i in range(EACH)]
            images = rng.integers(0, 128, (EACH, 3072)) + 120 * np.array(labels)[:, None]
            key = "fine_labels" if name == "cifar100" else "labels"
            (folder / batch).write_bytes(pickle.dumps({"data": images.astype(np.uint8), key: labels}))
        names = {official.meta["key"]: ["ant", "bee"]}
        (folder / official.meta["filename"]).write_bytes(pickle.dumps(names))
    return root


def admit(patch: pytest.MonkeyPatch, root: Path) -> None:
    """Lets torchvision take the files of this test for the published ones."""
    for name, official in OFFICIAL.items():
        folder = root / name / official.base_folder

        def md5(file: str, folder: Path = folder) -> str:
            return hashlib.md5((folder / file).read_bytes()).hexdigest()

        for part in ("train_list", "test_list"):
            patch.setattr(official, part, [[file, md5(file)] for file, _ in getattr(official, part)])
        meta = official.meta["filename"]
        patch.setattr(official, "meta", {**official.meta, "md5": md5(meta)})


def planned(suite: str, home: Path) -> dict[str, Job]:
    """The jobs of SwAV by name."""
    request = resolve(["swav"], list(EVERY), suite, home, [])
    return {job.name: job for job in Planner(request).plan() if job.entry.name == "swav"}


def reason(job: Job) -> str:
    assert job.why is not None
    return f"{job.why.reason}: {job.why}"


def test_the_plan_says_what_is_missing_and_where_it_is_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    jobs = planned("cifar", tmp_path / "home")
    assert {job.state for job in jobs.values()} == {"skip"}
    for name, of in (("pretrain", "cifar10"), ("cifar10_knn", "cifar10"), ("cifar100_linear", "cifar100")):
        said, official = reason(jobs[name]), OFFICIAL[of]
        assert f"{tmp_path}/{of}/{official.base_folder} is not there" in said
        assert f"as {official.url} unpacks (MD5 {official.tgz_md5})" in said
        assert "\n" not in said


@pytest.mark.case(35)
def test_a_batch_that_is_not_the_published_one_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit(monkeypatch, write(tmp_path))
    (tmp_path / "own.toml").write_text(SMALL)
    batch = tmp_path / "cifar10" / "cifar-10-batches-py" / "data_batch_2"
    batch.write_bytes(batch.read_bytes()[:-9])
    jobs = planned(str(tmp_path / "own.toml"), tmp_path / "home")
    said = reason(jobs["cifar10_knn"])
    assert said.startswith(f"data-corrupt: the files in {batch.parent} are incomplete, or not as published")
    assert said.endswith("data_batch_2 is absent or another file; fetch them again")
    assert "\n" not in said
    assert reason(jobs["cifar100_knn"]).startswith("data-corrupt: pretraining failed: the files in")


def test_the_built_in_suite_demands_all_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    admit(monkeypatch, write(tmp_path))
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    said = reason(planned("cifar", tmp_path / "home")["pretrain"])
    assert f"expected 50,000 images as published, found {5 * EACH}; complete the data set" in said


@pytest.mark.slow
def test_one_command_from_the_official_files_to_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        admit(patch, write(tmp_path))
        for name in OFFICIAL:
            for part in cifar.COUNTS:
                dataset.find(name).split(tmp_path / name, part)
    (tmp_path / "own.toml").write_text(SMALL)
    command = [sys.executable, "-m", "zoo", "run", "swav", "--all-benchmarks"]
    out = ["--suite", str(tmp_path / "own.toml"), "--out", str(tmp_path / "home")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*command, *out], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    records = [read for _, read in result.every(tmp_path / "home") if read.model["name"] == "swav"]
    assert {str(one.protocol["name"]): one.status for one in records} == dict.fromkeys(
        ("pretrain", *EVERY), "ok"
    )
    known = builtin.load(str(tmp_path / "own.toml"), None, {}).catalogue()
    for one in records:
        if one.protocol["name"] in known:
            shown = {column.score for column in known[str(one.protocol["name"])].columns}
            scores = {score.name: score for score in one.metrics}
            assert shown <= set(scores)
            assert {scores[name].n for name in shown} == {EACH}
    page = (tmp_path / "home" / "tables.md").read_text()
    assert "CIFAR-10 Linear Evaluation" in page
    assert "CIFAR-100 Nearest-Neighbor Classification" in page


def test_the_example_pretrains_on_cifar100_with_the_same_benchmarks() -> None:
    example = Path(__file__).parents[1] / "examples" / "cifar100.toml"
    own, given = (builtin.load(suite, None, {}) for suite in ("cifar", str(example)))
    assert (own.pretrained_on, given.pretrained_on) == ("cifar10/train", "cifar100/train")
    assert {name: p.settings for name, p in given.catalogue().items()} == {
        name: p.settings for name, p in own.catalogue().items()
    }
    assert tuple(own.catalogue()) == EVERY
    for method in ("swav", "deepclusterv2", "random", "raw_pixels"):
        assert own.entry(method).recipe == given.entry(method).recipe == recipes(method)["cifar"][0]
    assert given.entry("supervised").recipe.classes == 100  # type: ignore[attr-defined]


def test_published_numbers_stand_beside_and_are_marked_as_of_another_rule(tmp_path: Path) -> None:
    protocols = catalogue("cifar")
    linear, knn = protocols["cifar10_linear"], protocols["cifar10_knn"]
    benchmark(tmp_path, linear, {"AvgPool_top1": 80.0, "AvgPool_top5": 99.0}, model="swav", n=10_000)
    benchmark(tmp_path, knn, {"k20_top1": 75.0}, model="swav", n=10_000)
    made = view(tmp_path, {p.name: p for p in (linear, knn)}, "cifar")
    found = made.filled(linear.table).published
    assert found is not None
    (row,) = found.rows
    top1, top5 = (row[found.columns.index(f"AvgPool (solo-learn){part}")] for part in ("", ", top-5"))
    assert [(cell.text, cell.mark, cell.gain) for cell in (top1, top5)] == [
        ("89.17", "grey", ""),
        ("99.68", "grey", ""),
    ]
    assert any("grey, another rule: the classifier was trained online" in note for note in found.notes)
    assert not any("settings other than the published ones" in note for note in found.notes)
    assert made.filled(knn.table).published is None, "nobody published k-NN on CIFAR"


def test_a_method_without_a_recipe_for_cifar_says_what_stands_in() -> None:
    suite = builtin.load("cifar", None, {})
    assert suite.entry("odc").notes == ("odc: it has no recipe for 'cifar'; that of 'demo' stands in",)
    assert suite.entry("swav").notes == ()


def test_the_network_is_that_of_the_published_checkpoints() -> None:
    recipe = recipes("swav")["cifar"][0]
    net = archs.build(recipe.arch, recipe.input, 0).eval()
    with torch.no_grad():
        maps = net.stages(torch.zeros(1, 3, 32, 32))
    assert [tuple(one.shape[1:]) for one in maps] == [
        (64, 34, 34),
        (64, 34, 34),
        (128, 17, 17),
        (256, 9, 9),
        (512, 5, 5),
    ]
    assert sum(p.numel() for p in net.parameters()) == 11_168_832


def test_the_protocols_of_cifar_are_in_no_other_variant() -> None:
    """Hence no key or plan of another suite moves."""
    assert set(EVERY) <= set(catalogue("cifar"))
    for variant in ("paper", "photos", "demo", "smoke"):
        assert not set(EVERY) & set(catalogue(variant))
