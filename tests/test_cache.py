"""What is kept is found again only under all that decides it, and believed only as it was written."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import cache, shelf
from benchmarks.contract.task import Task
from benchmarks.protocols.knn import protocol as knn
from benchmarks.shelf import Array, Create
from pretrain.base.faults import Fault
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build

fork = multiprocessing.get_context("fork")


class Counted:
    """A computation that says how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def arrays(self, create: Create | None) -> None:
        self.runs += 1
        assert create is not None
        create((4, 3), "float32").append(np.full((4, 3), self.runs, dtype=np.float32))
        create((4, 1), "float16").append(np.zeros((4, 1), dtype=np.float32))

    def values(self) -> dict[str, float]:
        self.runs += 1
        return {"mAP": float(self.runs)}


@pytest.fixture
def task(tmp_path: Path) -> Task:
    backbone = build("resnet10_narrow", Input(size=8, resize=8), 0)
    path = tmp_path / "backbone.safetensors"
    checkpoint.save(path, backbone, "resnet10_narrow", {})
    return Task(
        protocol=knn.SMOKE[0],
        checkpoint=path,
        backbone=backbone,
        splits={},
        fingerprints={},
        roots={},
        work=tmp_path / "work",
        cache=tmp_path / "features",
        seed=0,
        device=torch.device("cpu"),
        report=lambda *_: None,
    )


def test_a_second_call_reads(task: Task) -> None:
    counted = Counted()
    for _ in range(2):
        first, second = cache.arrays(task, "what", counted.arrays)
        assert first[0, 0] == 1
        assert second.shape == (4, 1)
    assert cache.values(task, "other", counted.values) == cache.values(task, "other", counted.values)
    assert counted.runs == 2


@pytest.mark.parametrize(
    "changed", [{"version": 99}, {"packages": ("torch",)}, {"numerics": "tf32"}], ids=lambda c: next(iter(c))
)
def test_another_version_package_or_arithmetic_is_computed_again(
    task: Task, changed: dict[str, object]
) -> None:
    counted = Counted()
    cache.arrays(task, "what", counted.arrays)
    other = replace(task, protocol=replace(task.protocol, **changed))  # type: ignore[arg-type]
    assert cache.arrays(other, "what", counted.arrays)[0][0, 0] == 2
    assert cache.arrays(task, "what", counted.arrays)[0][0, 0] == 1


def test_settings_that_features_do_not_read_leave_them_alone(task: Task) -> None:
    counted = Counted()
    cache.arrays(task, "what", counted.arrays)
    settings = replace(task.protocol.settings, temperature=5.0)
    cache.arrays(replace(task, protocol=replace(task.protocol, settings=settings)), "what", counted.arrays)
    assert counted.runs == 1


def flipped(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[-2] ^= 1
    path.write_bytes(body)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("harm", [flipped, cut, Path.unlink])
@pytest.mark.parametrize("which", ["1.npy", "2.npy", "manifest.json"])
@pytest.mark.case(6)
def test_a_damaged_file_is_computed_again(task: Task, harm: object, which: str) -> None:
    counted = Counted()
    cache.arrays(task, "what", counted.arrays)
    (path,) = task.cache.rglob(which)
    harm(path)  # type: ignore[operator]
    assert cache.arrays(task, "what", counted.arrays)[0][0, 0] == 2
    cache.arrays(task, "what", counted.arrays)
    assert counted.runs == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"values": {"mAP": 99.0}}', "[" * 5000])
@pytest.mark.case(6)
def test_edited_values_are_computed_again(task: Task, text: str) -> None:
    counted = Counted()
    cache.values(task, "what", counted.values)
    (path,) = task.cache.glob("*/*.json")
    body = json.loads(path.read_text())
    path.write_text(text or json.dumps({**body, "values": {"mAP": 99.0}}))
    assert cache.values(task, "what", counted.values) == {"mAP": 2.0}


def test_arrays_are_whole_typed_and_said_in_the_manifest(task: Task) -> None:
    wide, narrow = cache.arrays(task, {"kind": "some"}, Counted().arrays)
    assert (wide.dtype, narrow.dtype, wide.flags.writeable) == (np.float32, np.float16, False)
    (path,) = task.cache.rglob("manifest.json")
    said = json.loads(path.read_text())
    assert said["what"] == {"kind": "some"}
    assert said["arrays"]["1.npy"].items() >= {"shape": [4, 3], "dtype": "float32"}.items()


def test_what_decides_the_arithmetic_can_be_given(task: Task) -> None:
    """Protocols of different versions share what neither of them computes."""
    counted, by = Counted(), {"code": "same"}
    cache.arrays(task, "what", counted.arrays, by)
    cache.arrays(replace(task, protocol=replace(task.protocol, version=99)), "what", counted.arrays, by)
    assert counted.runs == 1
    cache.arrays(task, "what", counted.arrays, {"code": "other"})
    assert counted.runs == 2


def computing(task: Task, begun: Path) -> None:
    """Takes half a second."""

    def slow(create: Create | None) -> None:
        begun.touch()
        time.sleep(0.5)
        Counted().arrays(create)

    cache.arrays(task, "what", slow)


def test_a_second_job_waits_for_the_features_that_a_first_one_computes(task: Task, tmp_path: Path) -> None:
    first = fork.Process(target=computing, args=(task, tmp_path / "begun"))
    first.start()
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    counted, said = Counted(), list[str]()
    told = replace(task, report=lambda done, total, line: said.append(line))
    assert cache.arrays(told, "what", counted.arrays)[0][0, 0] == 1
    first.join()
    assert counted.runs == 0
    assert said == [f"waiting for process {first.pid} on {socket.gethostname()}: same features"]


def test_features_that_fail_leave_nothing(task: Task) -> None:
    def failing(create: Create | None) -> None:
        Counted().arrays(create)
        raise Fault("nan", "not finite")

    with pytest.raises(Fault, match="not finite"):
        cache.arrays(task, "what", failing)
    assert not [path for path in task.cache.rglob("*") if path.suffix in (".npy", ".json", ".part")]


def stocked(task: Task, *names: str) -> list[Array]:
    """Features of these names, used one after the other; one array of each, which nobody else maps."""
    return [cache.arrays(task, name, Counted().arrays)[0] for name in names]


def test_clean_removes_what_nobody_uses_and_says_how_much(task: Task) -> None:
    stocked(task, "a", "b")
    held = stocked(task, "c")
    cache.values(task, "other", Counted().values)
    (task.cache / "left-by-an-older-version.npy").write_bytes(b"12345")
    tried = shelf.clean(task.cache, dry_run=True)
    assert len(list(task.cache.rglob("manifest.json"))) == 3
    assert shelf.clean(task.cache) == tried
    assert len(tried) == 4
    assert sum(one.bytes for one in tried) > 2 * 4 * 3 * 4
    assert np.array_equal(held[0], np.ones((4, 3)))
    assert len(list(task.cache.rglob("manifest.json"))) == 1
    del held
    assert len(shelf.clean(task.cache)) == 1
    assert shelf.kept(task.cache) == []


def test_clean_leaves_alone_what_is_being_computed(task: Task, tmp_path: Path) -> None:
    process = fork.Process(target=computing, args=(task, tmp_path / "begun"))
    process.start()
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    assert shelf.clean(task.cache) == []
    process.join()
    assert process.exitcode == 0
    assert len(list(task.cache.rglob("manifest.json"))) == 1


def test_what_a_killed_process_left_is_cleaned(task: Task) -> None:
    stocked(task, "a")
    (place,) = [path.parent for path in task.cache.rglob("manifest.json")]
    place.rename(place.with_name(f".{place.name}.part"))
    assert [one.said for one in shelf.clean(task.cache)] == ["features that were not finished"]


def test_beyond_the_limit_the_longest_unused_goes(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    stocked(task, "a", "b")
    for path in task.cache.rglob("manifest.json"):
        os.utime(path, (0, 0))
    first, second = (
        json.loads((one.path / "manifest.json").read_text())["what"] for one in shelf.kept(task.cache)
    )
    size = shelf.kept(task.cache)[0].bytes
    stocked(task, first)  # used again, so that the other is the longest unused
    monkeypatch.setenv("ZOO_FEATURES_GB", str(2.5 * size / 1e9))
    stocked(task, "c")
    counted = Counted()
    cache.arrays(task, first, counted.arrays)
    assert counted.runs == 0
    cache.arrays(task, second, counted.arrays)
    assert counted.runs == 1


@pytest.mark.parametrize("said", ["much", "0", "-1", "nan"])
def test_a_limit_that_is_no_size_is_refused(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_FEATURES_GB", said)
    with pytest.raises(Fault, match="ZOO_FEATURES_GB: expected gigabytes above 0"):
        shelf.limit()
