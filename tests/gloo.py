"""Runs a function in several processes that form a gloo group, as torchrun would start them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing

from pretrain.base import dist


def run(worker: Callable[..., Any], world: int, folder: Path, *arguments: Any) -> list[Any]:
    """What worker(*arguments) returned in each process, in rank order; tensors and plain containers."""
    port = free_port()
    # Forking saves seconds of imports; with one thread a child never waits for its parent's thread pool.
    passed = (worker, world, port, folder, arguments)
    torch.multiprocessing.start_processes(_process, passed, nprocs=world, start_method="fork")
    return [torch.load(folder / f"{rank}.pt") for rank in range(world)]


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _process(
    rank: int, worker: Callable[..., Any], world: int, port: int, folder: Path, arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(address, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
    dist.start("cpu", timeout_s=60)
    torch.save(worker(*arguments), folder / f"{rank}.pt")
    dist.stop()
