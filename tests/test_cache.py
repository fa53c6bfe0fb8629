"""What is kept is found again only under all that decides it, and believed only as it was written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import cache
from benchmarks.contract.task import Task
from benchmarks.protocols.knn import protocol as knn
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build


class Counted:
    """A computation that says how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def arrays(self) -> list[cache.Array]:
        self.runs += 1
        return [np.full((4, 3), self.runs, dtype=np.float32), np.zeros((4, 1), dtype=np.float32)]

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
@pytest.mark.parametrize("which", ["*-1.npy", "*-2.npy", "*.json"])
def test_a_damaged_file_is_computed_again(task: Task, harm: object, which: str) -> None:
    counted = Counted()
    cache.arrays(task, "what", counted.arrays)
    (path,) = task.cache.glob(which)
    harm(path)  # type: ignore[operator]
    assert cache.arrays(task, "what", counted.arrays)[0][0, 0] == 2
    cache.arrays(task, "what", counted.arrays)
    assert counted.runs == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"values": {"mAP": 99.0}}', "[" * 5000])
def test_edited_values_are_computed_again(task: Task, text: str) -> None:
    counted = Counted()
    cache.values(task, "what", counted.values)
    (path,) = task.cache.glob("*.json")
    body = json.loads(path.read_text())
    path.write_text(text or json.dumps({**body, "values": {"mAP": 99.0}}))
    assert cache.values(task, "what", counted.values) == {"mAP": 2.0}
