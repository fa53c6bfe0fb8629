"""Collectives: the identity on one process, right for every dtype on several."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pretrain.base import dist
from pretrain.base.faults import Fault
from tests import gloo

DTYPES = (torch.bool, torch.uint8, torch.int32, torch.int64, torch.float32, torch.float64, torch.bfloat16)


def splitmix64(x: int) -> int:
    """The published algorithm on Python integers."""
    mask = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def literal_hash(t: Tensor) -> int:
    """Of type and shape, then of every 8 bytes with their place; the sum has no order to depend on."""
    data = bytes(t.contiguous().view(-1).view(torch.uint8).tolist())
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
    total = zlib.crc32(f"{t.dtype} {tuple(t.shape)}".encode())
    total += sum(splitmix64(word ^ splitmix64(place)) for place, word in enumerate(words))
    return splitmix64(total % 2**64)


def test_a_port_that_is_taken_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        told = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(Fault, match=rf"process 0 of 2 .* at 127.0.0.1:{port} .*in use.*MASTER_PORT free"):
            dist.start("cpu", timeout_s=5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_a_process_that_waits_for_the_others(number: int) -> None:
    """The first process never comes; waiting for it takes ten minutes."""
    there = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(gloo.free_port())}
    listens = "from zoo import stopping; from pretrain.base import dist; stopping.listen()"
    argv = [sys.executable, "-c", f"{listens}; print('waits', flush=True); dist.start('cpu')"]
    with subprocess.Popen(argv, env={**os.environ, **there}, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            time.sleep(1.0)
            process.send_signal(number)
            assert process.wait(20) == -number
        finally:
            process.kill()


def test_handlers_are_back_once_the_processes_have_met(tmp_path: Path) -> None:
    assert gloo.run(_is_handled, 2, tmp_path) == [True, True]


def _is_handled() -> bool:
    """By Python's own handler, or that of whoever started this process."""
    return callable(signal.getsignal(signal.SIGINT))


def test_one_process_gets_its_own_tensor_back() -> None:
    t = torch.arange(6.0).view(3, 2)
    assert dist.rank() == 0
    assert dist.world_size() == 1
    assert dist.all_reduce_sum_(t) is t
    assert dist.all_gather_rows(t) is t
    assert dist.broadcast_(t) is t
    assert dist.gather_object("a") == ["a"]
    assert dist.agreed(True)
    assert not dist.agreed(False)
    dist.barrier()
    dist.assert_replicated(t, "t")
    dist.stop()


def test_an_incomplete_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Fault, match="RANK, MASTER_ADDR, MASTER_PORT is not set; use torchrun"):
        dist.start("cpu")


def test_mix64_is_splitmix64() -> None:
    values = [0, 1, -1, 2**63 - 1, -(2**63), 123456789]
    mixed = dist.mix64(torch.tensor(values)).tolist()
    assert [m % 2**64 for m in mixed] == [splitmix64(v % 2**64) for v in values]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_hash_sees_every_element_its_place_its_type_and_the_shape(dtype: torch.dtype) -> None:
    t = torch.tensor([[0, 1, 0], [1, 1, 0]]).to(dtype)
    other = t.clone()
    other[1, 2] = 1
    different = [t, other, t.flip(1), t.view(3, 2), t.view(-1), t[:1], t.view(torch.uint8).long(), t[:0]]
    assert len({int(dist.hash64(d)) for d in different}) == len(different)
    assert int(dist.hash64(t)) == int(dist.hash64(t.t().contiguous().t()))
    for tensor in (*different, t.repeat(5, 1)):
        assert int(dist.hash64(tensor)) % 2**64 == literal_hash(tensor)


@pytest.mark.parametrize("words", [2**22, 2**22 + 1])
def test_a_hash_that_is_taken_piece_by_piece_is_that_of_the_whole(words: int) -> None:
    """Pieces are of 32 MiB, 2^22 words."""
    t = torch.randint(2**62, (words,), generator=torch.Generator().manual_seed(words))
    place = torch.arange(words)
    total = dist.mix64(t ^ dist.mix64(place)).sum() + zlib.crc32(f"{t.dtype} {tuple(t.shape)}".encode())
    assert int(dist.hash64(t)) == int(dist.mix64(total))


@pytest.mark.parametrize("rank", [0, 1])
def test_more_processes_than_gpus_are_one_sentence_of_each(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first, too, which alone is heard; its own GPU is there."""
    for name, value in {"LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": 2, "WORLD_SIZE": 2, "RANK": rank}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        Fault, match="2 processes of this machine take a GPU each, and each of them sees 1; start 1"
    ):
        dist.start("cuda")


@pytest.mark.parametrize(
    ("backend", "fails", "left"), [("nccl", True, 0), ("nccl", False, 1), ("gloo", True, 1)]
)
def test_a_rank_that_fails_does_not_wait_for_nccls_others(
    backend: str, fails: bool, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = list[bool]()
    monkeypatch.setattr(dist.tdist, "get_backend", lambda: backend)
    monkeypatch.setattr(dist.tdist, "destroy_process_group", lambda: gone.append(True))
    with suppress(Fault), dist.group("cpu"):
        monkeypatch.setattr(dist, "grouped", lambda: True)
        if fails:
            raise Fault("nan", "the loss is nan")
    assert len(gone) == left


def _own(rank: int, dtype: torch.dtype) -> Tensor:
    """Different values and a different number of rows on every rank; none on rank 1."""
    rows = (2, 0, 3)[rank]
    return (torch.arange(rows * 2) % 5 + rank).view(rows, 2).to(dtype)


def _collect() -> dict[str, Any]:
    out: dict[str, Any] = {"rank": dist.rank(), "world": dist.world_size()}
    for dtype in DTYPES:
        own = torch.tensor([[dist.rank(), 0, 100]]).to(dtype)
        out[f"sum {dtype}"] = dist.all_reduce_sum_(own.clone())
        out[f"rows {dtype}"] = dist.all_gather_rows(_own(dist.rank(), dtype))
        out[f"equal {dtype}"] = dist.all_gather_rows(own[0], equal=True)
        out[f"sent {dtype}"] = dist.broadcast_(own.clone(), src=2)
    strided = (torch.arange(6.0).view(3, 2) * (dist.rank() + 1)).t()
    out["strided sum"] = dist.all_reduce_sum_(strided.clone())
    out["strided sent"] = dist.broadcast_(strided, src=1)
    out["scalar"] = dist.broadcast_(torch.tensor(float(dist.rank())), src=1)
    out["objects"] = dist.gather_object({"rank": dist.rank()})
    out["agreed"] = [dist.agreed(dist.rank() == r) for r in range(3)]
    dist.barrier()
    same = torch.arange(5)
    dist.assert_replicated(same, "same")
    same[4] += dist.rank() == 2
    try:
        dist.assert_replicated(same, "memory.y")
    except RuntimeError as error:
        out["error"] = str(error)
    return out


def test_collectives_on_three_processes(tmp_path: Path) -> None:
    found = gloo.run(_collect, 3, tmp_path)
    assert [f["rank"] for f in found] == [0, 1, 2]
    for f in found:
        assert f["world"] == 3
        for dtype in DTYPES:
            assert f[f"sum {dtype}"].dtype == dtype
            assert torch.equal(f[f"sum {dtype}"], torch.tensor([[3, 0, 300]]).to(dtype))
            assert torch.equal(f[f"rows {dtype}"], torch.cat([_own(r, dtype) for r in range(3)]))
            assert torch.equal(f[f"equal {dtype}"], torch.tensor([0, 0, 100, 1, 0, 100, 2, 0, 100]).to(dtype))
            assert torch.equal(f[f"sent {dtype}"], torch.tensor([[2, 0, 100]]).to(dtype))
        assert torch.equal(f["strided sum"], torch.arange(6.0).view(3, 2).t() * 6)
        assert torch.equal(f["strided sent"], torch.arange(6.0).view(3, 2).t() * 2)
        assert f["scalar"] == 1
        assert f["objects"] == [{"rank": 0}, {"rank": 1}, {"rank": 2}]
        assert f["agreed"] == [True, False, False], "what the first process says"
        assert f["error"].startswith("'memory.y' (5,) differs between the 3 processes")
