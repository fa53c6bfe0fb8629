"""A device without a GPU: tensors that say they are elsewhere, are computed by the CPU, and refuse
what CUDA refuses.

`python -m tests.accelerator train ROOT OUT METHOD...` trains tiny runs there and prints, for each, the hash
of its weights and where its steps wait for the device; `python -m tests.accelerator run ...` is
`python -m zoo.run ...` there.

Of CUDA it has the rule that the tensors of an operation lie on one device, and it counts what makes the host
wait. Streams, pinned memory, NCCL, autocast and kernels of CUDA's own are not in it. It is built on torch's
backends in Python, which are experimental: `missing()` says why there is none.
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "elsewhere"
aten = torch.ops.aten
# CPU tensors may be indices, and sources of copies; what is indexed must be where the indices are, then.
INDEXING = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"}
MIXING = {"aten::_to_copy", "aten::copy_", *INDEXING}
# What the host must know before it goes on: a value, or how many rows there are.
WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::bincount", "aten::_unique2",
         "aten::equal", "aten::unique_dim", "aten::unique_consecutive", "aten::repeat_interleave"}  # fmt: skip
WAITED = Counter[str]()  # by place in our code
LATER = "pretrain/base/lagged.py"
OURS = ("pretrain", "benchmarks", "zoo")
ROOT = Path(__file__).parents[1]


def missing() -> str:
    """Why there is no such device with this torch, or ''."""
    return "" if hasattr(backend_registration, "_setup_privateuseone_for_python_backend") else (
        f"torch {torch.__version__} has no backends in Python"
    )  # fmt: skip


class Backend:
    """What torch asks of a device's module."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """The CPU draws."""

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class There(Tensor):
    """A tensor on the device. held: its data, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        with torch.inference_mode(False):  # else its views could not leave the block
            made = Tensor._make_wrapper_subclass(
                cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
                device=torch.device(NAME, 0),
            )  # fmt: skip
        assert isinstance(made, There)
        made.held = held.detach()
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), func._schema.name
        _one_device(name, args, kwargs)
        where = torch.device(kwargs["device"]).type if kwargs.get("device") else NAME
        if where == "cpu" or _waits(name, args):
            WAITED[place()] += 1
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        kwargs.pop("pin_memory", None)
        held_args, held_kwargs = tree_map_only(There, lambda t: t.held, (args, kwargs))
        made = func(*held_args, **held_kwargs)
        if where == "cpu":
            return made
        if any(out.alias_info is not None and out.alias_info.is_write for out in func._schema.returns):
            written = kwargs.get("out", args[0])
            assert written.shape == made.shape, f"{name} changes the shape of a tensor in place"
            return written
        return tree_map_only(Tensor, There, made)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.clone().__reduce_ex__(protocol)  # type: ignore[no-untyped-call]

    def tolist(self) -> Any:
        WAITED[place()] += 1
        return self.held.tolist()

    def quantile(self, q: Any, *given: Any, **named: Any) -> Tensor:  # torch's changes shapes in place
        return There(self.held.quantile(q.held if isinstance(q, There) else q, *given, **named))

    def __matmul__(self, other: Any) -> Tensor:  # likewise, for vectors
        if self.ndim == 1 and other.ndim == 2:
            return torch.matmul(self[None], other)[0]
        return torch.matmul(self, other) if other.ndim > 1 else torch.matmul(self, other[:, None])[:, 0]


def _one_device(name: str, args: Any, kwargs: Any) -> None:
    """Raises RuntimeError for tensors of two devices; scalars of the CPU go anywhere."""
    here = [tuple(t.shape) for t in tree_leaves((args, kwargs)) if type(t) is Tensor and t.ndim > 0]
    if here and (name not in MIXING or (name in INDEXING and type(args[0]) is Tensor)):
        raise RuntimeError(f"{name} mixes devices: {here} of the CPU among others, at {place()}")


def _waits(name: str, args: Any) -> bool:
    """Whether the host waits for the device: for a value, or for how many rows a mask has."""
    masks = any(isinstance(t, Tensor) and t.dtype is torch.bool for t in tree_leaves(args[1:2]))
    back = name == "aten::copy_" and not isinstance(args[0], There)
    return name in WAITS or back or ("index" in name and masks)


def place() -> str:
    """The line of ours that is at work."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in OURS:
            return f"{path.relative_to(ROOT)}:{frame.lineno}"
    return "elsewhere"


class Factories(TorchDispatchMode):
    """Tensors that are made there, or sent there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        away = kwargs.get("device") and torch.device(kwargs["device"]).type == NAME
        if not away or any(isinstance(t, There) for t in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)
        kwargs["device"] = torch.device("cpu")
        kwargs.pop("pin_memory", None)
        return There(func(*args, **kwargs))


_LIBRARIES = list[torch.library.Library]()


@contextmanager
def device() -> Iterator[torch.device]:
    """The device, once per process."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Backend())
    kernels, every = torch.library.Library("aten", "IMPL"), torch.library.Library("_", "IMPL")
    for name, op in (
        ("empty.memory_format", aten.empty.memory_format),
        ("empty_strided", aten.empty_strided.default),
    ):
        kernels.impl(name, _made_there(op), "PrivateUse1")
    kernels.impl("_copy_from", _copied, "PrivateUse1")
    every.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")  # everything stays fp32
    _LIBRARIES.extend((kernels, every))
    torch.__future__.set_swap_module_params_on_conversion(True)
    with Factories():
        yield torch.device(NAME, 0)


def _made_there(op: Any) -> Any:
    def made(*args: Any, **kwargs: Any) -> Tensor:
        kept = {name: value for name, value in kwargs.items() if name not in ("device", "pin_memory")}
        return There(op(*args, **kept, device="cpu"))

    return made


def _copied(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    (target.held if isinstance(target, There) else target).copy_(
        source.held if isinstance(source, There) else source
    )
    return target


def train(root: Path, out: Path, names: list[str]) -> None:
    """Trains each method and prints its name, the hash of its weights, and the places where its steps wait,
    with how often. A figure that is read a step later is there by then.
    """
    from pretrain.base.settings import changed
    from pretrain.data import dataset
    from pretrain.nets import checkpoint
    from pretrain.train import loop
    from tests.train import tiny

    split, step = dataset.find("imagenet").split(root, "train"), loop.step
    for name in names:
        waits = Counter[str]()

        def counted(*given: Any, waits: Counter[str] = waits) -> Any:
            WAITED.clear()
            made = step(*given)
            waits.update({where: n for where, n in WAITED.items() if LATER not in where})
            return made

        loop.step = counted
        recipe = changed(tiny(name), check_every=0)
        path = loop.fit(name, recipe, split, out / name, 0, torch.device(NAME, 0), lambda *_: None)
        print(name, checkpoint.describe(path).sha256, dict(waits), flush=True)


def run(words: list[str]) -> None:
    """The command, whose jobs find this device."""
    from pretrain.base import dist
    from zoo import run as command

    @contextmanager
    def group(kind: str) -> Iterator[torch.device]:
        yield torch.device(NAME, 0)

    dist.group = group
    sys.argv[1:] = words
    command.main()


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    with device():
        train(Path(words[0]), Path(words[1]), words[2:]) if verb == "train" else run(words)
