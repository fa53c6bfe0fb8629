"""Collectives that are the identity on one process: the same code runs alone, under gloo and under NCCL.

Gathers and broadcasts move bytes, so every dtype works on every backend, bool and bfloat16 included.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as tdist
from torch import Tensor

from pretrain.base import watch
from pretrain.base.faults import Fault

T = TypeVar("T")

# gloo sums neither bool nor, in older versions, 16-bit floats; half precision would also round at every hop.
_SUMMED_AS = {torch.bool: torch.int32, torch.bfloat16: torch.float32, torch.float16: torch.float32}
_HASH_WORDS = 1 << 22  # 32 MiB of a tensor hashed at a time
FORCED = "ZOO_FORCE_DDP"  # environment: 1 makes one process a group, so that it runs the code of several
_WATCHES: list[watch.Watch] = []  # of the group that this process is in


def start(device: torch.device | str, timeout_s: float = 600.0) -> torch.device:
    """The device of this process, after joining the group that torchrun's environment describes, if any.

    gloo on the CPU, NCCL on CUDA, where rank r of a node takes GPU LOCAL_RANK. From then on the ranks watch
    each other, see `watch`. Where `ZOO_FORCE_DDP=1` one process forms a group of its own: every collective,
    DDP and synchronised batch norm then run as among several. Raises Fault if the environment announces
    several processes but not how to meet them, or more of them on this machine than it has GPUs.
    """
    device = torch.device(device)
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if device.type == "cuda":
        device = _own_gpu(device.index or 0)
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if not several and os.environ.get(FORCED) == "1" and not grouped():
        alone = tdist.HashStore()  # type: ignore[attr-defined]
        tdist.init_process_group(backend, store=alone, rank=0, world_size=1)
    if several:
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if missing:
            unset = ", ".join(missing)
            raise Fault(
                "bad-config", f"WORLD_SIZE announces several processes but {unset} is not set; use torchrun"
            )
        try:
            with _ended_by_signals():
                tdist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
        except tdist.DistError as error:
            raise _apart(str(error)) from None
        _WATCHES.extend(filter(None, [watch.begin(rank(), world_size())]))
    return device


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Signals that have a handler of Python's end this process at once: while torch waits for the others,
    minutes long, no such handler is called.
    """
    mine = threading.current_thread() is threading.main_thread()
    known = {number: signal.getsignal(number) for number in signal.valid_signals() if mine}
    ours = {number: handler for number, handler in known.items() if callable(handler)}
    for number in ours:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)


def _apart(error: str) -> Fault:
    """Why the processes do not meet. Each says so, for it may be the only one that knows."""
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    said = f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} does not meet the others at {place}"
    said += f" ({error.strip().splitlines()[0]})"
    advice = "the first process must run at MASTER_ADDR, with MASTER_PORT free there and open to all"
    if int(os.environ["RANK"]):
        print(f"{said}; {advice}", file=sys.stderr)  # where a command ends, the first alone is heard
    return Fault("bad-config", f"{said}; {advice}")


def _own_gpu(index: int) -> torch.device:
    """The GPU of this process, one each. All say where there are too few: the first alone is heard."""
    local = int(os.environ.get("LOCAL_RANK", index))
    wanted, found = max(local + 1, int(os.environ.get("LOCAL_WORLD_SIZE", 1))), torch.cuda.device_count()
    if wanted > found:
        said = f"{wanted} processes of this machine take a GPU each, and each of them sees {found}"
        raise Fault(
            "dependency-missing", f"{said}; start {found} (--nproc_per_node), or let all of them see all GPUs"
        )
    return torch.device("cuda", local)


@contextmanager
def group(kind: str) -> Iterator[torch.device]:
    """The device of this process, in the group of those that
    torchrun started, for as long as the block lasts.
    """
    device = start(kind)
    try:
        yield device
    except BaseException:
        stop(failed=True)
        raise
    stop()


def stop(failed: bool = False) -> None:
    """Leaves the process group; nothing where there is none.

    NCCL's ranks leave together: one that has failed would wait for others that wait for it, ten minutes long.
    It keeps its group, which ends with its process, as theirs do then.
    """
    while _WATCHES:
        _WATCHES.pop().close()
    if grouped() and not (failed and tdist.get_backend() == "nccl"):
        tdist.destroy_process_group()


def rank() -> int:
    """Number of this process, 0 on one process."""
    return tdist.get_rank() if grouped() else 0


def world_size() -> int:
    """How many processes there are."""
    return tdist.get_world_size() if grouped() else 1


def barrier() -> None:
    """Returns when every process has arrived."""
    if grouped():
        watch.went_on()
        tdist.barrier()


def all_reduce_sum_(tensor: Tensor) -> Tensor:
    """`tensor`, overwritten by its sum over the processes:
    logical or for bool, 16-bit floats rounded once.
    """
    if not grouped():
        return tensor
    watch.went_on()
    buffer = tensor.to(_SUMMED_AS.get(tensor.dtype, tensor.dtype)).contiguous()
    tdist.all_reduce(buffer)
    return tensor if buffer is tensor else tensor.copy_(buffer)


def mean(tensor: Tensor) -> Tensor:
    """The mean over the processes of a tensor that each has of its own; itself for one process."""
    return all_reduce_sum_(tensor.clone()) / world_size() if grouped() else tensor


def all_gather_rows(tensor: Tensor, equal: bool = False) -> Tensor:
    """Rows of all processes in rank order: (n_r, ...) to (sum of n_r, ...), same dtype; without gradient.

    n_r may differ between processes; the sizes are then exchanged first, which costs a second collective and
    a host synchronisation. `equal` promises equal sizes and saves both.
    """
    if not grouped():
        return tensor
    watch.went_on()
    sizes = [len(tensor)] * world_size() if equal else _sizes(tensor)
    width = math.prod(tensor.shape[1:])
    rows = _bytes(tensor.detach().reshape(len(tensor), width))
    if max(sizes) > len(rows):
        rows = torch.cat([rows, rows.new_zeros(max(sizes) - len(rows), rows.shape[1])])
    out = rows.new_empty(world_size() * len(rows), rows.shape[1])
    tdist.all_gather_into_tensor(out, rows)
    if min(sizes) < len(rows):
        out = torch.cat([out[r * len(rows) :][:size] for r, size in enumerate(sizes)])
    return out.view(tensor.dtype).reshape(sum(sizes), *tensor.shape[1:])


def broadcast_(tensor: Tensor, src: int = 0) -> Tensor:
    """`tensor`, overwritten by the bytes that process `src` holds."""
    if not grouped():
        return tensor
    watch.went_on()
    buffer = tensor.detach().contiguous()
    tdist.broadcast(_bytes(buffer.reshape(-1)), src)
    if buffer.data_ptr() != tensor.data_ptr():
        tensor.detach().copy_(buffer)
    return tensor


def gather_object(obj: T) -> list[T]:
    """The object of every process, in rank order, on every process (pickled: for small things)."""
    if not grouped():
        return [obj]
    watch.went_on()
    every: list[Any] = [None] * world_size()
    tdist.all_gather_object(every, obj)
    return every


def agreed(flag: bool) -> bool:
    """What the first process says, on every process."""
    return gather_object(flag)[0]


def assert_replicated(tensor: Tensor, name: str) -> None:
    """Raises RuntimeError on every process if `tensor` is not the same, bit for bit, on all of them.

    16 bytes travel: the largest hash h, and the largest ~h, which is the complement of the smallest.
    """
    if not grouped():
        return
    h = hash64(tensor)
    watch.went_on()
    extremes = torch.stack([h, ~h])
    tdist.all_reduce(extremes, op=tdist.ReduceOp.MAX)
    if not bool(extremes[0] == ~extremes[1]):
        raise RuntimeError(
            f"'{name}' {tuple(tensor.shape)} differs between the {world_size()} processes (rank {rank()} has hash "
            f"{int(h):x}); it must be computed from the same inputs everywhere or broadcast from one process"
        )


def hash64(tensor: Tensor) -> Tensor:
    """64-bit hash of a tensor's dtype, shape and bytes, int64
    scalar on its device; order of elements matters.
    """
    data = _bytes(tensor.detach().contiguous().reshape(-1))
    words = torch.nn.functional.pad(data, (0, -len(data) % 8)).view(torch.int64)
    total = torch.tensor(zlib.crc32(f"{tensor.dtype} {tuple(tensor.shape)}".encode()), device=tensor.device)
    for first in range(0, len(words), _HASH_WORDS):
        part = words[first : first + _HASH_WORDS]
        place = torch.arange(first, first + len(part), device=part.device)
        total = (
            total + mix64(part ^ mix64(place)).sum()
        )  # wraps modulo 2^64; the sum has no order to depend on
    return mix64(total)


def mix64(x: Tensor) -> Tensor:
    """A bijection of int64 onto itself whose outputs look
    random (splitmix64's finaliser; Steele et al. 2014).
    """
    x = x - 0x61C8864680B583EB  # the multipliers are the published ones minus 2^64, so that they fit int64
    x = (x ^ _shift(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shift(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Right shift that fills with zeros: int64 as if it were unsigned."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def grouped() -> bool:
    """Whether this process is in a group: of several, or of itself alone where that is forced."""
    return tdist.is_available() and tdist.is_initialized()


def _bytes(tensor: Tensor) -> Tensor:
    """The same memory as uint8; the last dimension grows by the element size."""
    return tensor.contiguous().view(torch.uint8)


def _sizes(tensor: Tensor) -> list[int]:
    mine = torch.tensor([len(tensor)], device=tensor.device)
    every = mine.new_empty(world_size())
    tdist.all_gather_into_tensor(every, mine)
    return [int(size) for size in every.tolist()]
