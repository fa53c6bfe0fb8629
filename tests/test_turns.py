"""What processes share of a benchmark: whole batches and whole pieces, in their order, with no bit moved."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import turns
from benchmarks.protocols.linear.run import heads as linear_heads
from benchmarks.protocols.transfer.run import heads as transfer_heads
from benchmarks.solvers.heads import Evaluation, train
from benchmarks.solvers.training import Head
from pretrain.base import dist
from pretrain.base.settings import changed
from tests import gloo, scenes
from tests.linear_task import LINEAR, TRANSFER, diverging, task


def batch(ids: np.ndarray[Any, np.dtype[np.int64]]) -> list[Tensor]:
    """A vector, and maps whose channels lie last in memory."""
    x = torch.from_numpy(ids)
    maps = x[:, None, None, None] + torch.arange(24.0).view(2, 4, 3)
    return [x, maps.contiguous(memory_format=torch.channels_last)]


def in_order(n: int, size: int) -> list[list[Tensor]]:
    """What a process sees of all batches of the ids n - 1 to 0."""
    mine = turns.my_batches(np.arange(n)[::-1].copy(), size)
    own = (batch(mine[at : at + size]) for at in range(0, len(mine), size))
    return list(turns.every_batch(own, [one[:0] for one in batch(np.arange(2))], n, size))


@pytest.mark.parametrize(("world", "n"), [(1, 7), (2, 7), (2, 8), (3, 2)])
def test_every_process_sees_every_batch_in_order_as_it_lies_in_memory(
    tmp_path: Path, world: int, n: int
) -> None:
    for seen in gloo.run(in_order, world, tmp_path, n, 2):
        assert [ids.tolist() for ids, _ in seen] == [
            list(range(at, max(-1, at - 2), -1)) for at in range(n - 1, -1, -2)
        ]
        for ids, maps in seen:
            assert torch.equal(maps, batch(ids.numpy())[1])
            assert maps.is_contiguous(memory_format=torch.channels_last)


def squares(pieces: list[int]) -> list[tuple[int, int]]:
    return turns.shared_out(pieces, lambda mine: [(piece * piece, dist.rank()) for piece in mine])


@pytest.mark.parametrize("pieces", [[3, 1, 4, 1, 5], [7], []])
def test_pieces_are_shared_out_and_all_get_all(tmp_path: Path, pieces: list[int]) -> None:
    expected = [(piece * piece, at % 2) for at, piece in enumerate(pieces)]
    assert gloo.run(squares, 2, tmp_path, pieces) == [expected] * 2
    assert squares(pieces) == [(square, 0) for square, _ in expected]


def patient(port: int) -> list[float]:
    """A group whose collectives have five seconds, in which the second process computes for longer."""
    dist.stop()
    os.environ["MASTER_PORT"] = str(port)
    dist.start("cpu", timeout_s=5)

    def slept(mine: list[float]) -> list[float]:
        time.sleep(sum(mine))
        return mine

    return turns.shared_out([0.0, 7.0], slept)


@pytest.mark.slow
def test_whoever_is_done_waits_longer_than_a_collective_may_take(tmp_path: Path) -> None:
    assert gloo.run(patient, 2, tmp_path, gloo.free_port()) == [[0.0, 7.0]] * 2


def trained(root: Path, transfer: bool) -> dict[str, Any]:
    """Courses, lost heads and state after training; one of LINEAR's heads diverges."""
    protocol = TRANSFER if transfer else LINEAR
    views = protocol.settings.views * (1 if transfer else 2)
    given = task(root, protocol, root / "images", views=views, batch_size=4)
    heads = transfer_heads(given.protocol.settings) if transfer else diverging(given, "Feature2")
    found = train(given, heads)
    dist.barrier()
    state = torch.load(root / "state.pt")
    return {
        "courses": {name: course._asdict() for name, course in found.courses.items()},
        "lost": found.lost,
        "state": state,
    }


def same(ours: Any, theirs: Any) -> bool:
    """Equal in every bit, not-a-numbers included, whatever holds the tensors."""
    if isinstance(ours, Tensor):
        return torch.equal(ours.nan_to_num(7), theirs.nan_to_num(7))
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    return bool(ours == theirs)


def folder(root: Path, world: int) -> Path:
    place = root / str(world)
    scenes.folder(place / "images", per_class=5)
    return place


@pytest.mark.parametrize("transfer", [False, True])
def test_heads_trained_by_several_processes_are_those_of_one_bit_for_bit(
    tmp_path: Path, transfer: bool
) -> None:
    alone = trained(folder(tmp_path, 1), transfer)
    for found in gloo.run(trained, 2, tmp_path, folder(tmp_path, 2), transfer):
        assert same(alone, found)
    assert set(alone["lost"]) == (set() if transfer else {"Feature2"})


def begun(root: Path, heads: list[Head]) -> None:
    """Two epochs of an evaluation, of four."""
    evaluation = Evaluation(task(root, LINEAR, root / "images"), heads)
    for epoch in range(2):
        evaluation.train(epoch)
        evaluation.test(epoch)
        evaluation.save(epoch)


def test_another_number_of_processes_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    heads = linear_heads(changed(LINEAR.settings))
    place = folder(tmp_path, 2)
    gloo.run(begun, 2, tmp_path, place, heads)
    resumed = train(task(place, LINEAR, place / "images"), heads)
    assert resumed == train(task(tmp_path, LINEAR, place / "images"), heads)
